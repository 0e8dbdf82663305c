"""Members of a WebDataset sample that are no neighbours of its pictures, in shards that were packed in another order.

A scan looks at the samples as they pass. Only where pictures lack the member that identifies them, and the shard has
such members elsewhere, are its headers walked a second time; the members found travel with the portion of the pictures.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from pipelines.sources.entry import Break, Portion
from pipelines.sources.tar import Sample
from pipelines.sources.tar_headers import Member

MAX_KEYS = 1 << 20  # samples of one shard that are joined from far apart; some 200 MB

# Of a sample: its key, and the members among which is its identity, the surest first.
KeyOf = Callable[[Sample], bytes]
IdentifyingOf = Callable[[Sample], dict[str, Member]]


@dataclass
class Lonely:
    """The samples of a shard whose pictures lack an identifying member among their neighbours."""

    key_of: KeyOf
    identifying_of: IdentifyingOf
    max_keys: int = MAX_KEYS
    starts: dict[bytes, list[int]] = field(default_factory=dict)  # key -> offset of each such sample
    num_left_out: int = 0
    num_identifying: int = 0

    def see(self, sample: Sample) -> bool:
        """Take note of a sample; true if it may need members from elsewhere."""
        if self.identifying_of(sample):
            self.num_identifying += 1
            return False
        if not sample.pictures:
            return False
        key = self.key_of(sample)
        if key not in self.starts and len(self.starts) >= self.max_keys:
            self.num_left_out += 1
            return False
        self.starts.setdefault(key, []).append(sample.header)
        return True

    def join(self, samples: Iterable[Sample]) -> tuple[dict[int, dict[str, Member]], int]:
        """Offset of a sample -> the identifying members of its key, and the number of keys that have two of a kind."""
        found: dict[bytes, dict[str, Member]] = {}
        twice: set[bytes] = set()
        for sample in samples:
            members = self.identifying_of(sample)
            if not members or (key := self.key_of(sample)) not in self.starts:
                continue
            before = found.setdefault(key, {})
            if before.keys() & members.keys():
                twice.add(key)
            before.update(members)
        joined = {start: found[key] for key in found.keys() - twice for start in self.starts[key]}
        return joined, len(twice)

    def breaks(self, container: str, num_twice: int) -> Iterator[Break]:
        """The notes on pictures that remain without their identity."""
        if num_twice:
            reason = f"{num_twice:,} samples have two members that identify them, apart; their images have no identity"
            yield Break(container, 0, 0, reason)
        if self.num_left_out:
            reason = (
                f"the members of more than {self.max_keys:,} samples are no neighbours; sort the shard by name, "
                f"for {self.num_left_out:,} images have no identity"
            )
            yield Break(container, 0, 0, reason)


def attach(portion: Portion, joined: dict[int, dict[str, Member]]) -> Portion:
    """The portion with the members that belong to its samples and lie elsewhere."""
    own = {
        start: {kind: (member.data, member.num_bytes) for kind, member in members.items()}
        for start, members in joined.items()
        if portion.start <= start < portion.stop
    }
    return replace(portion, joined=zlib.compress(json.dumps(own).encode(), 1)) if own else portion


def attached(portion: Portion) -> dict[int, dict[str, Member]]:
    """Offset of a sample -> the members that `attach` gave it."""
    if not portion.joined:
        return {}
    return {
        int(start): {kind: Member(b"", data, data, num_bytes) for kind, (data, num_bytes) in members.items()}
        for start, members in json.loads(zlib.decompress(portion.joined)).items()
    }
