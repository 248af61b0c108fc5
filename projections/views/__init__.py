"""Every view: which rows follow from which events. One file a view, each a pure function of one event."""

from projections.changes import View
from projections.views import (
    cameras,
    datasets,
    environments,
    episodes,
    jobs,
    models,
    operations,
    projects,
    recordings,
    robots,
)

VIEWS: dict[str, View] = {
    module.__name__.rpartition(".")[2]: View(module.TABLES, module.LISTENS_TO, module.changes)
    for module in (projects, cameras, robots, environments, datasets, episodes, recordings, jobs, models, operations)
}
"""By name, in the order in which a rebuild reports them."""
