"""`env.AI`: text generation and embeddings, by an embedded demo model or an endpoint that speaks OpenAI's protocol."""
