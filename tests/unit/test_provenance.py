"""Who wants what, and what led to it: from a request's headers to the events."""

import pytest

from actors.provenance import Provenance, acting, begin, current, event_id, following, of_request, stamped
from tests.story import everything

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_a_request_without_ids_gets_its_own() -> None:
    first, second = of_request({}), of_request({})
    assert first.by == "anonymous"
    assert first.correlation_id == first.causation_id != second.causation_id
    assert first.traceparent is None


def test_a_request_is_known_by_the_ids_it_brings() -> None:
    headers = {"x-request-id": "r-1", "x-correlation-id": "order 66".replace(" ", "-"), "traceparent": TRACEPARENT}
    assert of_request(headers, "ann") == Provenance("ann", "order-66", "r-1", TRACEPARENT)


def test_a_trace_correlates_what_has_no_id_of_its_own() -> None:
    assert of_request({"traceparent": TRACEPARENT}).correlation_id == TRACE


INVALID = (f"ff{TRACEPARENT[2:]}", f"00-{'0' * 32}-{'1' * 16}-01", f"00-{TRACE}-{'0' * 16}-01")


@pytest.mark.parametrize("bad", ["", "x", TRACEPARENT.upper(), TRACEPARENT + "-more", "00-" + TRACE, *INVALID])
def test_a_traceparent_that_cannot_be_read_is_dropped(bad: str) -> None:
    assert of_request({"traceparent": bad}).traceparent is None


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "ü", "a\n"])
def test_an_unusable_id_is_replaced(bad: str) -> None:
    provenance = of_request({"x-request-id": bad, "x-correlation-id": bad})
    assert bad not in (provenance.causation_id, provenance.correlation_id)


def test_events_are_stamped_while_something_is_carried_out() -> None:
    event = everything()[0][1]
    assert stamped(event) is event
    with acting(Provenance("ann", "c", "r", TRACEPARENT)):
        noted = stamped(event)
    assert (noted.by, noted.correlation_id, noted.causation_id, noted.traceparent) == ("ann", "c", "r", TRACEPARENT)
    assert current() is None


def test_what_the_system_does_follows_from_an_event() -> None:
    event = everything()[0][1].model_copy(update={"by": "ann", "correlation_id": "c"})
    cause = event_id(event.originator_id, event.originator_version)
    assert following(event) == Provenance("system", "c", cause, None)


async def test_what_begins_in_a_task_stays_in_it() -> None:
    import asyncio

    async def work() -> Provenance | None:
        begin(Provenance("ann"))
        return current()

    assert await asyncio.create_task(work()) == Provenance("ann")
    assert current() is None
