"""A model that never says one of its labels on its own rows is told so when it is written."""

from farthing.distill.unsaid import CHUNK_EVENTS, unsaid


class Says:
    """Calls every event by what it holds."""

    def score_events(self, events):
        return Scored(events)


class Scored(list):
    @property
    def labels(self):
        return tuple(event.decode() for event in self)


LABELS = ("review", "block")


def test_what_is_never_said_is_named():
    assert unsaid(Says(), [[b"allow", b"review"], [b"block"]], LABELS) is None
    assert "never says block of its own 2 rows" in unsaid(Says(), [[b"allow"], [b"review"]], LABELS)
    assert "never says yes: of its own 1 rows none is called review, block" in unsaid(Says(), [[b"allow"]], LABELS)
    assert unsaid(Says(), [[b"allow"] * CHUNK_EVENTS + [b"review", b"block"]], LABELS) is None
