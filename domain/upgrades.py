"""Upcasters: what turns the fields of an old event into those that today's class of the same topic has.

An event whose meaning changes keeps its topic; a function is added to the end of its topic's chain, and from then on
the log stores the chain's length with every such event, so that an old one is known by what it lacks. A field that is
only added needs a default instead, and no upcaster.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Fields = dict[str, Any]
Upcaster = Callable[[Fields], Fields]

CLASS_VERSION = "class_version"

UPCASTERS: Mapping[str, Sequence[Upcaster]] = {}
"""By topic, oldest first: each takes the fields of one version to those of the next."""


def version_of(topic: str) -> int:
    """How often the meaning of this event has changed."""
    return len(UPCASTERS.get(topic, ()))


def upgraded(topic: str, fields: Fields) -> Fields:
    """The fields as today's class has them; ``fields`` itself is left alone."""
    stored = {name: value for name, value in fields.items() if name != CLASS_VERSION}
    for upcaster in UPCASTERS[topic][fields.get(CLASS_VERSION, 0) :]:
        stored = upcaster(stored)
    return stored
