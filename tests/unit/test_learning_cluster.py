import pytest

from actors.learning.cluster import Node, Place, place
from domain.errors import Invalid
from domain.training import Device

HEAD = Node("a", "10.0.0.1", {"CPU": 2.0, "memory": 1e10, "node:10.0.0.1": 1.0, "object_store_memory": 1e9})
CARDS = Node("b", "10.0.0.2", {"CPU": 16.0, "GPU": 2.0, "accelerator_type:H100": 1.0, "arm": 1.0}, "H100")
INTEL = Node("c", "10.0.0.3", {"CPU": 8.0, "GPU": 1.0}, "Intel-GPU-Max-1550")
LAB = [HEAD, CARDS, INTEL]


def test_without_a_word_each_worker_claims_a_processor_anywhere() -> None:
    assert place([HEAD], 2, None, None) == place([HEAD], 2, {}, None) == Place({"CPU": 1})
    assert place([HEAD], 2, None, None).labels is None


def test_a_claim_is_kept_as_it_was_asked_for() -> None:
    assert place(LAB, 2, {"GPU": 1, "CPU": 4.5, "memory": 0}, None) == Place({"GPU": 1, "CPU": 4.5})
    assert place(LAB, 4, {"GPU": 0.5}, None).claim == {"GPU": 0.5}
    assert place([HEAD], 6, {"CPU": 0.33334}, None).claim == {"CPU": 0.33334}  # Ray counts 0.3333


def test_a_device_binds_the_workers_to_its_node() -> None:
    for index, node in enumerate(LAB):
        assert place(LAB, 2, None, Device(type="cpu", index=index)) == Place({"CPU": 1}, node.id)
    for index in (0, 1):
        found = place(LAB, 1, None, Device(type="cuda", index=index))
        assert found == Place({"GPU": 1}, "b")
        assert found.labels == {"ray.io/node-id": "b"}
    assert place(LAB, 2, {"CPU": 4}, Device(type="cuda", index=0)).claim == {"GPU": 1, "CPU": 4}
    assert place(LAB, 4, {"GPU": 0.5}, Device(type="cuda", index=0)).claim == {"GPU": 0.5}


@pytest.mark.parametrize(
    ("workers", "resources"),
    [
        (3, None),
        (1, {"CPU": 3}),
        (1, {"GPU": 1}),
        (1, {"CPU": 1, "flux capacitor": 1}),
        (64, {"CPU": 0.5}),
        (1, {"memory": 1e12}),
        (1, {"CPU": 1e308}),
    ],
)
def test_what_never_fits_is_refused_with_what_there_is(workers: int, resources: dict[str, float] | None) -> None:
    with pytest.raises(Invalid, match=r"there is 2 CPU, 10.0 GB memory on 10\.0\.0\.1\. Choose fewer") as refused:
        place([HEAD], workers, resources, None)
    assert refused.value.error_code == "not_enough_resources"


def test_a_worker_must_fit_into_one_node_and_all_of_them_into_the_chosen_one() -> None:
    with pytest.raises(Invalid, match="17 CPU"):
        place(LAB, 1, {"CPU": 17}, None)
    assert place(LAB, 4, {"CPU": 5}, None) == Place({"CPU": 5})
    with pytest.raises(Invalid, match="5 training workers with 5 CPU each"):
        place(LAB, 5, {"CPU": 5}, None)
    with pytest.raises(Invalid, match=r"memory on 10\.0\.0\.1; 16 CPU, 2 GPU, 1 arm on 10\.0\.0\.2; 8 CPU"):
        place(LAB, 3, None, Device(type="cpu", index=0))


@pytest.mark.parametrize(("type", "index"), [("cuda", 2), ("cpu", 3), ("xpu", 0), ("mps", 0)])
def test_a_device_that_no_node_has_is_refused_with_what_there_is(type: str, index: int) -> None:
    with pytest.raises(Invalid, match=f"a {type} {index} to train on: there is 2 CPU, ") as refused:
        place(LAB, 1, None, Device.model_validate({"type": type, "index": index}))
    assert refused.value.error_code == "unknown_device"


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(Invalid, match="leave one of the two out"):
        place(LAB, 1, {"GPU": 1}, Device(type="cpu"))
    with pytest.raises(Invalid, match="asks for nothing"):
        place(LAB, 1, {"CPU": 0, "GPU": 0.00001}, None)
    with pytest.raises(Invalid, match=r"a part of one GPU or whole ones, not 1\.5"):
        place(LAB, 1, {"GPU": 1.5}, None)
    with pytest.raises(Invalid, match="no node"):
        place([], 1, None, None)
