"""Ray Train's processes go, whenever a training is interrupted.

Ray Train's controller starts a detached actor that frees what the workers had when the controller dies, and then tells
it to begin. A controller that is killed in between leaves an actor that waits for ever (ray 2.x,
train/v2/_internal/callbacks/placement_group_callback.py); here it begins by itself.
"""

from typing import TYPE_CHECKING, Any

from ray.train.v2._internal.callbacks import placement_group_callback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller.placement_group_cleaner import PlacementGroupCleaner
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

if TYPE_CHECKING:
    from ray.train.v2._internal.execution.callback import RayTrainCallback


class Trainer(DataParallelTrainer):  # type: ignore[misc]
    def _create_default_callbacks(self) -> "list[RayTrainCallback]":
        made = super()._create_default_callbacks()
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
