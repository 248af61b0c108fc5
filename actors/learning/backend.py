"""Ray Train's backend for torch that leaves torch to the workers.

With Ray's own, the driver and the controller import torch as well, one after the other, before any worker starts. Here
the workers are told where to meet, and Lightning joins them into a process group (nccl on cards, gloo elsewhere).
"""

import os
import socket
from typing import Any

import ray.train
import ray.util
from ray.train.backend import Backend, BackendConfig


class TorchInWorkers(BackendConfig):  # type: ignore[misc]
    """To be given to a DataParallelTrainer whose workers train by Lightning."""

    @property
    def backend_cls(self) -> type[Backend]:
        return _MeetingPoint


class _MeetingPoint(Backend):  # type: ignore[misc]
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        address, port = worker_group.execute_single(0, _free_address)
        worker_group.execute(_meet_at, address, port)


def _free_address() -> tuple[str, int]:
    address = ray.util.get_node_ip_address()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        return address, probe.getsockname()[1]


def _meet_at(address: str, port: int) -> None:
    """What torch and Lightning read; torchrun sets the same."""
    context = ray.train.get_context()
    ranks = {
        "RANK": context.get_world_rank(),
        "LOCAL_RANK": context.get_local_rank(),
        "NODE_RANK": context.get_node_rank(),
        "WORLD_SIZE": context.get_world_size(),
        "LOCAL_WORLD_SIZE": context.get_local_world_size(),
    }
    os.environ.update({name: str(rank) for name, rank in ranks.items()})
    os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
