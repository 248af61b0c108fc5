"""Projects and models under any sequence of commands."""

from itertools import pairwise
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from domain.aggregate import NeedFree
from domain.claims import busy, member
from domain.model import ExportFacts, Model, Rollouts
from domain.project import CreateProject, Project, UpdateProject
from tests.unit.test_domain_kit import BEGINNING, BRIEF, OTHERS, PROJECT, THING, AggregateMachine, ids, names


class ProjectMachine(AggregateMachine[Project]):
    def begin(self) -> Project:
        return Project.create(THING, CreateProject(name="a"), self.at)

    @rule(name=names)
    def update(self, name: str) -> None:
        if self.tell(lambda project: project.update(UpdateProject(name=name), self.at)):
            assert self.aggregate.name == name

    @rule()
    def delete(self) -> None:
        self.tell(lambda project: project.delete(self.at))

    @invariant()
    def a_rename_is_to_another_name(self) -> None:
        said = [event.name for event in self.events if isinstance(event, Project.Created | Project.Renamed)]
        assert all(old != new for old, new in pairwise(said))

    @invariant()
    def nothing_happens_after_the_deletion(self) -> None:
        assert not any(isinstance(event, Project.Deleted) for event in self.events[:-1])


class ModelMachine(AggregateMachine[Model]):
    def begin(self) -> Model:
        exports = [ExportFacts(backend="torch", latency_ms=1.5)]
        return Model.create(THING, PROJECT, "m", "act", OTHERS[0], 1, OTHERS[1], 10, {"loss": 0.1}, exports, self.at)

    @rule(job=ids, success=st.floats(0, 1))
    def evaluated(self, job: UUID, success: float) -> None:
        rollouts = {"policy": Rollouts(episodes=2, success_rate=success, mean_coverage=0.5)}
        self.tell(lambda model: model.evaluated(job, "PushT", rollouts, self.at))

    @rule()
    def delete(self) -> None:
        self.tell(lambda model: model.delete(self.at))

    @invariant()
    def a_job_evaluates_it_once(self) -> None:
        jobs = [event.job_id for event in self.events if isinstance(event, Model.Evaluated)]
        assert jobs == self.aggregate.evaluations
        assert len(set(jobs)) == len(jobs)

    @invariant()
    def nothing_happens_after_the_deletion(self) -> None:
        assert not any(isinstance(event, Model.Deleted) for event in self.events[:-1])


TestProject, TestModel = ProjectMachine.TestCase, ModelMachine.TestCase
TestProject.settings = TestModel.settings = BRIEF


def test_a_project_with_running_work_or_members_is_not_deleted() -> None:
    project = ProjectMachine().aggregate
    project.delete(BEGINNING)
    claims = project.collect_events()[-1].claims()
    assert {NeedFree(busy(THING)), NeedFree(member(THING))} < set(claims)
