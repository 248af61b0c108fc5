"""The base of every owner: a Ray actor that holds one aggregate, decides for it, and alone touches its device.

An owner is found by its aggregate's kind and id (``activate``: made where there is none, on this node or another),
rehydrates from the log, decides on a copy and swaps it in after the commit, and passivates when it is not needed.
The log's version check fences off a second owner: an owner that loses a race loads the aggregate again and, if
another run has taken over, stops.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context, ContextVar
from copy import deepcopy
from functools import cached_property, partial
from typing import Any, ClassVar, cast
from uuid import UUID, uuid4

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayTaskError

from actors.log import Log, VersionConflict
from actors.provenance import Provenance, acting, begin, current
from domain.aggregate import Aggregate
from domain.errors import GetiActionError, Unavailable
from settings import settings

NAMESPACE = "geti-action"
ATTEMPTS = 8
RETRY_S = 0.1
END_S = 1.0  # for what it does of its own accord
logger = logging.getLogger(__name__)

_seen_version: ContextVar[int | None] = ContextVar("seen_version", default=None)


class OwnerLost(Unavailable):
    """The owner's process ended before it answered: the command may have happened or not."""

    code = "owner_lost"


class Entity[A: Aggregate]:
    """Base of the actor classes. One instance owns one aggregate."""

    aggregate_type: ClassVar[type[Aggregate]]

    def __init__(self, id: str) -> None:
        configure_logging()
        self.id = UUID(id)
        self.run = uuid4()
        self.log = Log(settings().database_url)
        self.aggregate: A = self._load()
        self._deciding = asyncio.Lock()
        self._leaving = self._retiring = False
        self.myself: Any = ray.get_runtime_context().current_actor
        self._loop = asyncio.get_running_loop()
        # Not as a call by its own handle: one that Ray gets while it still says that the actor restarts it drops.
        self._waking = self._loop.create_task(self.wake())
        self._waking.add_done_callback(self._log_failure)

    def __repr__(self) -> str:
        """The name by which the dashboard and Ray's logs show this actor."""
        return f"{type(self).__name__}({getattr(self.aggregate, 'name', str(self.id)[:8])})"

    @cached_property
    def node(self) -> str:
        """The name of the node this owner runs on."""
        return str(ray.util.get_node_ip_address())

    async def wake(self) -> None:
        """Runs first in every new process, after a crash too: take up what the log says was going on."""
        begin(self._own)

    async def obey(self, provenance: Provenance | None, if_match: int | None, command: str, *args: Any) -> Any:
        """Carry out a command that somebody else's process calls for. Raises StaleVersion when this is not the version
        that its caller has seen."""
        token = _seen_version.set(if_match)
        try:
            with acting(provenance or self._own):
                self.must_match()
                return await getattr(self, command)(*args)
        finally:
            _seen_version.reset(token)

    def must_match(self) -> None:
        """Raises StaleVersion. An owner whose commands wait for each other looks again when it is a command's turn."""
        self.aggregate.must_match(_seen_version.get())

    @cached_property
    def _own(self) -> Provenance:
        """That of what this process does of its own accord."""
        return self.log.provenance(self.id)

    async def decide[T](self, decision: Callable[[A], T], *others: Aggregate) -> T:
        """Let the aggregate decide on a copy, make it durable together with ``others``, and swap it in."""
        async with self._deciding:
            if current() is None:  # a device's thread says something
                begin(self._own)
            for _ in range(ATTEMPTS):
                copy = deepcopy(self.aggregate)
                result = decision(copy)
                try:
                    await self.log.append(copy, *others)
                except VersionConflict:
                    if others:
                        raise
                    self._rehydrate()
                    continue
                self.aggregate = copy
                return result
            raise VersionConflict(f"The {self.aggregate.kind} is changed too often; try again.")

    def from_thread(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Let a device's thread say something to the owner; what goes wrong with it is logged."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).add_done_callback(self._log_failure)

    def _log_failure(self, done: "Future[None] | asyncio.Task[None]") -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            logger.error("%r could not take up what it had to do", self, exc_info=error)

    async def refresh(self) -> None:
        """Somebody else changed the aggregate (its configuration): load it again."""
        async with self._deciding:
            self._rehydrate()

    def _rehydrate(self) -> None:
        mine = getattr(self.aggregate, "run", None) == self.run
        self.aggregate = self._load()
        if mine and getattr(self.aggregate, "run", None) != self.run:
            self.leave()
            raise Unavailable(f"This {self.aggregate.kind} has a new owner; try again.")

    def leave(self) -> None:
        """Stop this process on purpose, from wherever: Ray does not restart it, the next activation does."""
        # Once only: a process that is owed an answer by itself never ends, and nobody could wake the owner again.
        if not self._leaving:
            self._leaving, self._retiring = True, False
            self._call_retire()

    def _call_retire(self) -> None:
        """Only a call can end the process; it is made again if Ray drops it."""
        self.myself.retire.remote().future().add_done_callback(self._again_if_dropped)

    def _again_if_dropped(self, called: "Future[None]") -> None:
        if not self._retiring and isinstance(called.exception(), RayActorError):
            self._loop.call_soon_threadsafe(self._loop.call_later, RETRY_S, self._call_retire)

    async def retire(self) -> None:
        """End the process once what it holds is let go, unless somebody needs it again meanwhile."""
        self._retiring = True
        try:
            if not self.needed:
                await self.let_go()
        except Exception:
            self._leaving = False
            raise
        if self.needed:  # from the beginning, or since somebody came while it let go
            self._leaving = False
        else:
            self._waking.cancel()
            await asyncio.wait({self._waking}, timeout=END_S)
            ray.actor.exit_actor()

    async def let_go(self) -> None:
        """Close devices, peers and files; each owner says how."""

    @property
    def needed(self) -> bool:
        """Whether somebody relies on this process now; each owner says who that may be."""
        return False

    def _load(self) -> A:
        return self.log.load(self.aggregate_type, self.id)  # type: ignore[return-value]


def configure_logging() -> None:
    """Our own loggers at LOG_LEVEL; libraries speak from WARNING on."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("actors", "projections", "serve_app"):
        logging.getLogger(name).setLevel(settings().log_level)


def actor_name(kind: str, id: UUID) -> str:
    """Under which name Ray knows the owner of an aggregate."""
    return f"{kind}/{id}"


def activate(owner: "type[Entity[Any]]", id: UUID) -> "ActorHandle[Any]":
    """The owner of an aggregate; started where there is none (race-free: many callers get one process)."""
    handle = ray.remote(owner).options(
        name=actor_name(owner.aggregate_type.kind, id),
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        num_cpus=0,
        max_concurrency=1000,
    )
    return cast("ActorHandle[Any]", handle.remote(str(id)))


def living(kind: str, id: UUID) -> "ActorHandle[Any] | None":
    """The owner of an aggregate if it is awake."""
    try:
        return ray.get_actor(actor_name(kind, id), namespace=NAMESPACE)
    except ValueError:
        return None


async def ask(
    owner: "type[Entity[Any]]",
    id: UUID,
    method: str,
    *args: Any,
    timeout_s: float = 30,
    repeatable: bool = False,
    if_match: int | None = None,
) -> Any:
    """Wake the owner and call it. A ``repeatable`` call that meets a process on its way out is made to the next one."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return await call(activate(owner, id), method, *args, timeout_s=timeout_s, if_match=if_match)
        except OwnerLost:
            if not repeatable or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


async def call(
    owner: "ActorHandle[Any]", method: str, *args: Any, timeout_s: float = 30, if_match: int | None = None
) -> Any:
    """Call an actor's method and translate how Ray says that it failed."""
    answer = asyncio.ensure_future(_result(send(owner, method, *args, if_match=if_match)))
    answer.add_done_callback(_seen)
    done, _ = await asyncio.wait({answer}, timeout=timeout_s)
    if not done:
        raise Unavailable(f"It has not answered within {timeout_s:.0f} s; ask again how it stands.")
    try:
        return answer.result()
    except RayTaskError as error:
        raise _cause(error) from error
    except RayActorError as error:
        raise OwnerLost("Its process was lost and is being restarted; try again in a few seconds.") from error


def send(owner: "ActorHandle[Any]", method: str, *args: Any, if_match: int | None = None) -> "ray.ObjectRef[Any]":
    """Call an actor's method without waiting. Ray counts it as nobody's child: Serve cancels the request of a client
    that hangs up, and Ray then cancels with it, in whatever process they run, the calls that were made for it."""
    call = partial(owner.obey.remote, current(), if_match, method, *args)
    return cast("ray.ObjectRef[Any]", Context().run(call))


async def _result(reference: "ray.ObjectRef[Any]") -> Any:
    return await reference


def _seen(answer: "asyncio.Future[Any]") -> None:
    """A late failure of a call that nobody waits for any more is nobody's concern."""
    if not answer.cancelled():
        answer.exception()


def _cause(error: RayTaskError) -> Exception:
    """Ray raises a class derived from both its own error and the cause; the cause alone is what we mean."""
    cause = error.cause if isinstance(error.cause, Exception) else None
    return (
        cause if isinstance(cause, GetiActionError) else GetiActionError("An owner failed; the server's log says how.")
    )


async def owners_awake() -> list[tuple[str, UUID]]:
    """Kind and id of the aggregate of every owner that has a process, or is about to have one."""
    named = await asyncio.to_thread(ray.util.list_named_actors, all_namespaces=True)
    names = [actor["name"].partition("/") for actor in named if actor["namespace"] == NAMESPACE]
    return [(kind, UUID(id)) for kind, _, id in names]


async def roll_call() -> list[dict[str, str]]:
    """Every owner that Ray knows in our namespace: {name, state}."""
    return await asyncio.to_thread(_roll_call)


def _roll_call() -> list[dict[str, str]]:
    # Brings the dashboard's libraries along, which no owner needs.
    from ray.util.state import list_actors

    # Told where, because it would refuse to choose among several Rays of one machine.
    gcs = ray.get_runtime_context().gcs_address
    states = list_actors(address=gcs, filters=[("ray_namespace", "=", NAMESPACE), ("state", "!=", "DEAD")])
    return [{"name": actor.name, "state": actor.state} for actor in states if actor.name]
