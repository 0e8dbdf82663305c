"""The Huffman codes of a JPEG scan, to see whether bytes read as further blocks of it (ITU-T T.81, annexes C, F, G)."""

from dataclasses import dataclass, field

from pipelines.formats.jpeg_markers import FRAMES

DEFINE_TABLES = 0xC4
PROGRESSIVE = 0xC2

_ALTERNATING = 0x10  # in the number of a table: of AC coefficients
_COUNTS = 16  # bytes of a table before its symbols
_MOST_DC_BITS, _MOST_AC_BITS = 11, 10
_SKIP_16 = 15  # the run length of a symbol without bits that stands for 16 zeros; a smaller one ends the block

Codes = dict[str, int]  # a code in binary digits -> its symbol


@dataclass(frozen=True)
class Scan:
    """The codes of a scan."""

    blocks: tuple[tuple[Codes, Codes], ...]  # of each block of a unit (MCU): of its first coefficient, of the others
    first: int  # coefficient of the scan, 0..63
    last: int
    is_progressive: bool
    is_refinement: bool  # it has one more bit of coefficients that are known; its codes depend on these

    def reads_to_end(self, bits: str) -> bool:
        """True if binary digits are whole units of the scan, from some block of a unit on, and then ones up to a byte.

        The end of a scan is. Other bytes are by chance, one time in about ten.
        """
        return any(self._ends_with_unit(bits, block) for block in range(len(self.blocks)))

    def _ends_with_unit(self, bits: str, block: int) -> bool:
        position = 0
        try:
            while block > 0 or len(bits) - position >= 8 or "0" in bits[position:]:
                position = self._skip_block(bits, position, *self.blocks[block])
                block = (block + 1) % len(self.blocks)
        except ValueError:
            return False
        return True

    def _skip_block(self, bits: str, position: int, first_codes: Codes, codes: Codes) -> int:
        if self.first == 0:
            symbol, position = _symbol(bits, position, first_codes)
            position += symbol
        coefficient = max(self.first, 1)
        while coefficient <= self.last:
            symbol, position = _symbol(bits, position, codes)
            run, num_bits = symbol >> 4, symbol & 0x0F
            if num_bits == 0 and run < _SKIP_16:
                # Progressive: the end of 2^run blocks and as many more as the next bits say (G.1.2.2).
                return position + run if self.is_progressive else position
            position += num_bits
            coefficient += run + 1
        return position


@dataclass
class TableReader:
    """The frame and the Huffman tables of a JPEG, as its segments set them."""

    frame: int = 0
    sampling: dict[int, int] = field(default_factory=dict)  # component -> its blocks in a unit
    tables: dict[int, bytes] = field(default_factory=dict)  # _ALTERNATING for AC + number -> 16 counts, symbols

    def see(self, marker: int, content: bytes) -> None:
        """Take in a segment."""
        if marker in FRAMES:
            self.frame = marker
            self.sampling = {
                content[at]: (content[at + 1] >> 4) * (content[at + 1] & 0x0F) for at in range(6, len(content) - 2, 3)
            }
        elif marker == DEFINE_TABLES:
            self.tables |= huffman_tables(content)

    def used_by(self, content: bytes) -> set[int]:
        """The tables that a scan uses, by the content of its segment (B.2.3)."""
        direct = {tables >> 4 for tables in content[2:-3:2]}
        alternating = {_ALTERNATING | tables & 0x0F for tables in content[2:-3:2]}
        first, _, bits = content[-3:]
        if self.frame != PROGRESSIVE:
            return direct | alternating
        if first > 0:
            return alternating
        return set() if bits >> 4 else direct  # later bits of DC coefficients are not coded

    def scan(self, content: bytes) -> Scan:
        """The codes of the scan with this content of its segment."""
        first, last, bits = content[-3:]
        is_progressive = self.frame == PROGRESSIVE
        selected = list(zip(content[1:-3:2], content[2:-3:2], strict=True))
        blocks: list[tuple[Codes, Codes]] = []
        for component, tables in selected:
            codes = (self._codes(tables >> 4), self._codes(_ALTERNATING | tables & 0x0F))
            blocks += [codes] * (self.sampling.get(component, 1) if len(selected) > 1 else 1)
        return Scan(tuple(blocks), first, last, is_progressive, is_progressive and bits >> 4 > 0)

    def _codes(self, table: int) -> Codes:
        """The codes of a table (figure C.2)."""
        content = self.tables.get(table, bytes(_COUNTS))
        symbols = iter(content[_COUNTS:])
        codes: Codes = {}
        code = 0
        for length, count in enumerate(content[:_COUNTS], start=1):
            for _ in range(count):
                codes[f"{code:0{length}b}"] = next(symbols, 0)
                code += 1
            code <<= 1
        return codes


def huffman_tables(content: bytes) -> dict[int, bytes]:
    """The tables of a DHT segment (B.2.4.2): _ALTERNATING for AC + number -> 16 counts of codes by length, symbols."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(content):
        counts = content[at + 1 : at + 1 + _COUNTS]
        end = at + 1 + _COUNTS + sum(counts)
        found[content[at]] = content[at + 1 : end]
        at = end
    return found


def has_plausible_tables(content: bytes) -> bool:
    """True if no table of a DHT segment has a symbol twice, or one that no picture of 8 bits has (tables F.1, F.2)."""
    for table, counts_and_symbols in huffman_tables(content).items():
        symbols = counts_and_symbols[_COUNTS:]
        is_direct = table < _ALTERNATING
        if len(set(symbols)) < len(symbols) or any(
            symbol > _MOST_DC_BITS if is_direct else symbol & 0x0F > _MOST_AC_BITS for symbol in symbols
        ):
            return False
    return True


def _symbol(bits: str, position: int, codes: Codes) -> tuple[int, int]:
    """The symbol at a position, and the position after it.

    Raises:
        ValueError: no code stands there, or the bits end before it does.
    """
    for end in range(position + 1, min(position + 16, len(bits)) + 1):
        if bits[position:end] in codes:
            return codes[bits[position:end]], end
    raise ValueError("no code")
