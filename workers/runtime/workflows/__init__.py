"""Workflows: durable functions whose finished steps are never run again."""
