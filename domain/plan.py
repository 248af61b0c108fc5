"""What a recording session does by itself: a value, given when it is opened."""

from pydantic import BaseModel, ConfigDict, Field

from domain.aggregate import Int, Number


class Plan(BaseModel):
    """An episode is saved after ``episode_time_s``; once one was saved or discarded, the next starts after a pause of
    ``reset_time_s`` to put things back, until ``episodes`` are saved. None of them: only the operator does."""

    model_config = ConfigDict(frozen=True)
    episode_time_s: Number | None = Field(None, ge=0.5, le=3600, allow_inf_nan=False)
    reset_time_s: Number | None = Field(None, ge=0, le=3600, allow_inf_nan=False)
    episodes: Int | None = Field(None, ge=1, le=10_000)

    def rows(self, fps: int) -> int | None:
        """Those after which an episode is saved by itself; None where it is not."""
        return None if self.episode_time_s is None else max(1, round(self.episode_time_s * fps))

    def wants_another(self, after: int) -> bool:
        """Whether an episode starts by itself after so many."""
        return self.reset_time_s is not None and (self.episodes is None or after < self.episodes)
