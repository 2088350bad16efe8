"""Record batches damaged on the broker's disk: their partition halts or goes on after them, as configured."""

import struct

import pytest

from .running import event, eventually, offset_of

pytestmark = pytest.mark.kafka


class Segment:
    """The first segment file of a partition, and the batches in it: (position, base offset, bytes)."""

    def __init__(self, kafka, topic, partition):
        self.path = kafka.folder / "data" / f"{topic}-{partition}" / f"{0:020d}.log"
        self.data = bytearray(self.path.read_bytes())
        self.batches = []
        at = 0
        while at < len(self.data):
            base_offset, length = struct.unpack_from(">qi", self.data, at)
            self.batches.append((at, base_offset, 12 + length))
            at += 12 + length

    def flip(self, batch, at):
        """Flip a byte; negative positions count from the batch's end. Gives the batch's bytes as they are now."""
        position, _, size = self.batches[batch]
        place = position + (at if at >= 0 else size + at)
        self.data[place] ^= 0x40
        self.path.write_bytes(self.data)
        return bytes(self.data[position : position + size])


async def test_a_corrupt_batch_halts_its_partition_alone_and_can_be_skipped_exactly(mortal_kafka, make_service):
    halting = make_service(mortal_kafka, partitions=3, worker={"on_corrupt_batch": "halt"})
    await halting.create_topics()
    for partition in range(3):
        await halting.send([event(n, f"text {n}") for n in range(50)], batch_records=10, partition=partition)
    mortal_kafka.stop()  # in good order: what was stopped so is not looked through at the next start
    raw = Segment(mortal_kafka, halting.source, 1).flip(2, -5)  # offsets 20..29
    mortal_kafka.start()

    halting.start()
    said = await halting.stalled()
    assert f"{halting.source}[1]" in said
    assert "base_offset=20" in said
    assert "crc" in said
    assert "worker.on_corrupt_batch" in said
    scores = await halting.read(halting.sink, 120)
    by_partition = {p: [offset_of(r) for r in scores if r.partition == p] for p in range(3)}
    assert by_partition == {0: list(range(50)), 1: list(range(20)), 2: list(range(50))}
    await halting.send([event(n, f"more {n}") for n in range(20)], batch_records=10, partition=2)
    await halting.read(halting.sink, 140)  # the others go on
    await eventually(lambda: halting.metric("farthing_halted_partitions") == 1, 60)
    assert halting.metric("farthing_corrupt_batches_total") == 1
    assert halting.get("/live")[0] == 200
    assert halting.stop() == 0
    assert (await halting.committed()) == {0: 50, 1: 20, 2: 70}

    skipping = halting.twin(worker={"on_corrupt_batch": "skip"})
    skipping.start()
    await skipping.ready()
    await skipping.all_committed()
    scores = await skipping.read(skipping.sink, 160)
    assert sorted(offset_of(r) for r in scores if r.partition == 1) == [*range(20), *range(30, 50)]
    assert len(scores) == 160
    (letter,) = await skipping.read(skipping.dead, 1)
    assert letter.value == raw
    assert letter.partition == 1
    headers = {name.removeprefix("farthing.error."): value.decode() for name, value in letter.headers}
    assert headers["reason"] == "CorruptBatchError"
    assert headers["stage"] == "decode"
    assert headers["topic"] == skipping.source
    assert (headers["partition"], headers["offset"], headers["next_offset"]) == ("1", "20", "30")
    assert "crc" in headers["message"]
    assert skipping.stop() == 0
