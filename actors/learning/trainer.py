"""Ray Train's trainer with the processes that we need: others do not start, and all go, whenever it is interrupted.

Our workers read LeRobot's files, so there are no Ray datasets to manage, for which Ray Train starts a process all the
same. Its controller starts a detached actor that frees what the workers had when the controller dies, and then tells
it to begin. A controller that is killed in between leaves an actor that waits for ever (ray 2.x,
train/v2/_internal/callbacks/placement_group_callback.py); here it begins by itself.
"""

from typing import TYPE_CHECKING, Any

from ray.train.v2._internal.callbacks import placement_group_callback
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller.placement_group_cleaner import PlacementGroupCleaner
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

if TYPE_CHECKING:
    from ray.train.v2._internal.execution.callback import RayTrainCallback


class Trainer(DataParallelTrainer):  # type: ignore[misc]
    def _create_default_callbacks(self) -> "list[RayTrainCallback]":
        made = [each for each in super()._create_default_callbacks() if not isinstance(each, DatasetsCallback)]
        return [_Callback() if type(each) is PlacementGroupCleanerCallback else each for each in made]


class _Cleaner(PlacementGroupCleaner):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.start_monitoring()


class _Callback(PlacementGroupCleanerCallback):  # type: ignore[misc]
    """Runs in the controller."""

    def after_controller_start(self, train_run_context: Any) -> None:
        placement_group_callback.PlacementGroupCleaner = _Cleaner  # the name by which it is looked up
        super().after_controller_start(train_run_context)
