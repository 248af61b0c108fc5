"""Whether a training's workers fit into the cluster, and onto which node: asked at submit, and again where it starts.

It counts what the nodes have, busy or not: what is busy is waited for, what is not there never comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray

from domain.errors import Invalid
from domain.training import Device

CARDS = "GPU"
_NODE_ID, _ACCELERATOR, _HEAD = "ray.io/node-id", "ray.io/accelerator-type", "node:__internal_head__"
_UNSHOWN = ("node:", "accelerator_type:", "object_store_memory")


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster: ``resources`` by Ray's names; ``accelerator`` is the make of its cards if Ray knows."""

    id: str
    name: str
    resources: Mapping[str, float]
    accelerator: str = ""

    def devices(self, type: str) -> int:
        """How many of a type can be trained on; a machine's processors together are one."""
        match type:
            case "cpu":
                return int(self.resources.get("CPU", 0) > 0)
            case "cuda" if not self.accelerator.startswith("Intel"):
                return int(self.resources.get(CARDS, 0))
            case _:
                return 0

    def room(self, claim: Mapping[str, float]) -> int:
        """How many workers with this claim it has room for when nobody else is there."""
        return min(_counted(self.resources.get(name, 0)) // _counted(amount) for name, amount in claim.items())

    def __str__(self) -> str:
        shown = {name: amount for name, amount in sorted(self.resources.items()) if not name.startswith(_UNSHOWN)}
        return f"{in_words(shown) or 'nothing'} on {self.name}"


@dataclass(frozen=True, slots=True)
class Place:
    """What each worker claims of Ray, and the only node (Ray's id) it may run on when a device was chosen."""

    claim: dict[str, float]
    node_id: str | None = None

    @property
    def labels(self) -> dict[str, str] | None:
        """The place as Ray's label selector."""
        return {_NODE_ID: self.node_id} if self.node_id else None


def nodes() -> list[Node]:
    """The living nodes, the head first. Needs a connected Ray."""
    living = [node for node in ray.nodes() if node["Alive"]]
    living.sort(key=lambda node: (_HEAD not in node["Resources"], node["NodeManagerAddress"], node["NodeID"]))
    return [
        Node(
            node["NodeID"], node["NodeManagerAddress"], node["Resources"], node.get("Labels", {}).get(_ACCELERATOR, "")
        )
        for node in living
    ]


def place(cluster: Sequence[Node], workers: int, resources: Mapping[str, float] | None, device: Device | None) -> Place:
    """Where ``workers`` that claim ``resources`` each go, all of them on the node of ``device`` if there is one.

    Raises Invalid, with what the cluster has, when they could never start.
    """
    claim = _claim(resources or {}, device)
    chosen = _node_of(cluster, device) if device else None
    if sum(node.room(claim) for node in ([chosen] if chosen else cluster)) < workers:
        raise Invalid(
            f"{workers} training workers with {in_words(claim)} each do not fit: there is {_inventory(cluster)}. "
            "Choose fewer train_workers, smaller resources_per_worker or another device.",
            code="not_enough_resources",
        )
    return Place(claim, chosen.id if chosen else None)


def _counted(amount: float) -> int:
    """As Ray does: in ten-thousandths, rounded."""
    return int(min(amount, 1e15) * 10_000 + 0.5)


def in_words(resources: Mapping[str, float]) -> str:
    """Such as "2 CPU, 1 GPU"; memory, which Ray counts in bytes, in GB."""
    figures = {
        name: f"{amount / 1e9:.1f} GB" if name == "memory" else f"{amount:g}" for name, amount in resources.items()
    }
    return ", ".join(f"{figure} {name}" for name, figure in figures.items())


def _claim(resources: Mapping[str, float], device: Device | None) -> dict[str, float]:
    claim = {name: amount for name, amount in resources.items() if _counted(amount)}
    if resources and not claim:
        raise Invalid("resources_per_worker asks for nothing; name an amount such as {'CPU': 1}, or leave it out.")
    cards = claim.get(CARDS, 0)
    if cards > 1 and cards % 1:
        raise Invalid(f"A worker can have a part of one GPU or whole ones, not {cards:g}.")
    if device is None:
        return claim or {"CPU": 1}
    if device.type == "cpu" and cards:
        raise Invalid("The device is a cpu, but resources_per_worker asks for GPU; leave one of the two out.")
    if device.type == "cuda":
        claim = {CARDS: 1} | claim
    return claim or {"CPU": 1}


def _node_of(cluster: Sequence[Node], device: Device) -> Node:
    """The node that has the device. Raises Invalid."""
    before = 0
    for node in cluster:
        before += node.devices(device.type)
        if device.index < before:
            return node
    raise Invalid(
        f"No node of the cluster has a {device.type} {device.index} to train on: there is {_inventory(cluster)}. "
        "Choose another device, or leave it out.",
        code="unknown_device",
    )


def _inventory(cluster: Sequence[Node]) -> str:
    return "; ".join(map(str, cluster)) or "no node"
