"""Who may do what in realtime: the tables `[flarelet.realtime.jwt]` and `[[flarelet.realtime.rules]]`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from durable_objects.realtime.core.settings import AccessRule, JwtSettings

__all__ = ["JwtSection", "RuleSection"]

Action = Literal["subscribe", "publish", "presence", "history", "table-read"]
Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"
]
CallerRole = Literal["open", "public", "jwt", "secret"]
Texts = list[str]


class JwtSection(BaseModel):
    """The `[flarelet.realtime.jwt]` table: how tokens of end users are verified."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    secrets: Texts = Field(default_factory=list[str])
    secret_vars: Texts = Field(default_factory=list[str])
    pem: Texts = Field(default_factory=list[str])
    jwks_file: str = ""
    jwks_url: str = ""
    algorithms: list[Algorithm] = Field(default_factory=list[Algorithm])
    issuer: str | Texts = Field(default_factory=list[str])
    audience: str | Texts = Field(default_factory=list[str])
    leeway_s: Annotated[float, Field(ge=0, le=600, strict=False)] = 30.0
    user_claim: Annotated[str, Field(min_length=1)] = "sub"
    require_exp: bool = True
    on_expiry: Literal["close", "downgrade"] = "close"
    cache_s: Annotated[float, Field(ge=1, le=86_400, strict=False)] = 300.0

    def settings(self, folder: Path, variables: Mapping[str, object]) -> JwtSettings:
        """Return what realtime takes; files are beside the configuration, secrets may be in `variables`.

        Raises:
            ValueError: A variable is not there.
        """
        secrets = list(self.secrets)
        for name in self.secret_vars:
            value = variables.get(name)
            if not isinstance(value, str) or not value:
                raise ValueError(f"jwt.secret_vars: there is no variable {name}; put it into .dev.vars")
            secrets.append(value)
        return JwtSettings(
            secrets=tuple(secrets),
            pem=tuple(self.pem),
            jwks_file=str(folder / self.jwks_file) if self.jwks_file else "",
            jwks_url=self.jwks_url,
            algorithms=tuple(self.algorithms),
            issuer=_several(self.issuer),
            audience=_several(self.audience),
            leeway_s=self.leeway_s,
            user_claim=self.user_claim,
            require_exp=self.require_exp,
            on_expiry=self.on_expiry,
            cache_s=self.cache_s,
        )


class RuleSection(BaseModel):
    """One `[[flarelet.realtime.rules]]` entry."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    pattern: Annotated[str, Field(min_length=1)]
    allow: list[Action] = Field(default_factory=list[Action])
    deny: list[Action] = Field(default_factory=list[Action])
    to: list[CallerRole] = Field(default_factory=lambda: list[CallerRole](["open", "public", "jwt"]))
    claims: dict[str, Any] = Field(default_factory=dict[str, Any])
    rows: dict[str, Any] | None = None

    def settings(self) -> AccessRule:
        """Return what realtime takes."""
        return AccessRule(
            pattern=self.pattern,
            allow=frozenset(self.allow),
            deny=frozenset(self.deny),
            roles=frozenset(self.to),
            claims=tuple(self.claims.items()),
            rows=self.rows,
        )


def _several(value: str | Texts) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
