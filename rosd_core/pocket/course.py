"""What a pretrained model is taught, step by step: phases, each with its lesson and its rate."""

from collections.abc import Sequence
from dataclasses import dataclass

from rosd_core.pocket.lessons import Conversation, Lesson, draw_conversations
from rosd_core.pocket.recipe import Phase
from rosd_core.prompts.templates import Prompts

HELD_OUT = 10**7  # a step far beyond training: its conversations are never trained on


@dataclass(frozen=True)
class Part:
    """A phase of a course: its name, its steps and rate, and what its conversations are."""

    name: str
    phase: Phase
    lesson: Lesson


@dataclass(frozen=True)
class Course:
    """Parts, one after the other. Conversations and rate of a step depend on its number alone."""

    seed: int
    rows_per_step: int
    prompts: Prompts
    parts: Sequence[Part]

    @property
    def steps(self) -> int:
        return sum(part.phase.steps for part in self.parts)

    def place(self, step: int) -> tuple[Part, int]:
        """The part that a step belongs to, and its number there; both from 0."""
        for part in self.parts:
            if step < part.phase.steps:
                return part, step
            step -= part.phase.steps
        raise IndexError(step)

    def rate(self, step: int) -> float:
        part, local = self.place(step)
        return part.phase.rate(local)

    def draw(self, step: int) -> list[Conversation]:
        """The conversations of a step."""
        lesson = self.place(step)[0].lesson
        return draw_conversations(self.seed, step, self.rows_per_step, self.prompts, lesson)

    def held_out(self, count: int) -> list[Conversation]:
        """Conversations of the last part that no step draws."""
        lesson = self.parts[-1].lesson
        return draw_conversations(self.seed, HELD_OUT, count, self.prompts, lesson)
