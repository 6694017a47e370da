"""The service on many machines: Ray Serve spreads requests over replicas, one `voxray serve` each.

    pip install 'voxray[ray,postgres]'      # on every machine, the same versions; then, in this folder:
    serve run ray_app:application replicas=4 cpus=2 home=/srv/voxray database=postgresql+psycopg://...

A replica is the same application as `voxray serve`, so that consent, keys, the mark and the records are as
there. `home` (voices, signing keys, policy) is a folder that every machine sees; `database` is one
PostgreSQL for all of them (without it, SQLite in `home`: one machine only). A replica that dies
takes the speech under way with it, visibly; Ray starts another, and the others go on.

No annotations as text here: Ray looks at them to make `Arguments` of what it is given.
"""

from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

from voxray import trust
from voxray.serve import Settings, create_app


class Arguments(BaseModel):
    """What `serve run` is given, as name=value."""

    model_config = ConfigDict(extra="forbid")
    home: Path
    database: str = ""
    replicas: int = 2
    cpus: float = 2.0  # of each replica; the models use as many threads
    models: dict[str, Path | None] = {"mini": None}  # name -> folder; None: the built-in one
    hosts: list[str] = ["*"]  # names that clients use; the proxy in front may check them as well
    most_requests: int = 64  # of a replica; then 429


def build(arguments: Arguments) -> FastAPI:
    """A replica's application; runs where the replica does."""
    trust.use(arguments.home / "trust", arguments.database)
    settings = Settings(
        voices=arguments.home / "voices",
        hosts=tuple(arguments.hosts),
        most_requests=arguments.most_requests,
    )
    return create_app(settings, arguments.models)


def application(arguments: Arguments) -> Application:
    """What Ray Serve runs."""

    def here() -> FastAPI:  # Ray wants a plain function
        return build(arguments)

    @serve.deployment(
        num_replicas=arguments.replicas,
        max_ongoing_requests=4
        * arguments.most_requests,  # the service refuses by itself, with a reason
        ray_actor_options={"num_cpus": arguments.cpus},
        health_check_period_s=5,
        health_check_timeout_s=60,
        graceful_shutdown_timeout_s=30,
    )
    @serve.ingress(here)
    class Voxray:
        """One replica."""

    return Voxray.bind()
