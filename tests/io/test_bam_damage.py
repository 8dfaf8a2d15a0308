"""Files that are cut, flipped, or hostile: an error of one line and little memory, or exactly the whole content."""

import random
import re
import struct
import tracemalloc

import numpy as np
import pytest

from genoformer.config import ConsensusConfig
from genoformer.datasets.pileup import build_pileup, cut_windows, window_rows
from genoformer.errors import AlignmentError, GenoformerError
from genoformer.io.bam import BamReader, BamRecord, record_name
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.subreads import decode_ccs, decode_subread, iterate_molecules, iterate_zmws
from tests.bam_builder import (
    EOF_BLOCK,
    REVERSE,
    RawRecord,
    bgzf,
    bgzf_block,
    ccs_read,
    raw_header,
    subread,
    write_bam,
)


def read_records(path):
    """Records decoded from a file."""
    with BamReader(path) as reader:
        return [BamRecord(raw, path) for raw in reader]


def read_molecules(subreads_path, ccs_path):
    """Molecules of two files."""
    with BamReader(subreads_path) as subreads, CcsFinder(ccs_path) as ccs:
        return list(iterate_molecules(subreads, ccs))


def error_from(path, read=read_records):
    """Text of the error that reading a file ends with, its path left out: one line."""
    with pytest.raises(AlignmentError) as error:
        read(path)
    text = str(error.value)
    assert text.isprintable()
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def write(path, data):
    path.write_bytes(data)
    return path


# Files that are not whole BAM files


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty; expected a BAM file"),
        (b">r\nACGT\n", "starts with b'>r\\nA', not with the BGZF magic; expected a BAM file"),
        (b"B", "starts with b'B', not with the BGZF magic; expected a BAM file"),
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\xff\3\0\0\0\0\0\0\0\0\0",  # what gzip makes of nothing
            "starts with b'\\x1f\\x8b\\x08\\x00', not with the BGZF magic; expected a BAM file",
        ),
        (
            bgzf_block(raw_header()),
            "has no end-of-file block, so it is truncated; copy it again or rerun what wrote it",
        ),
        (
            EOF_BLOCK[:12],
            "has no end-of-file block, so it is truncated; copy it again or rerun what wrote it",
        ),
        (EOF_BLOCK, "ends inside the magic: 0 of 4 bytes; the file is truncated"),
        (bgzf(b"BAM"), "ends inside the magic: 3 of 4 bytes; the file is truncated"),
        (bgzf(b"##fileformat=VCFv4.2\n"), "starts with b'##fi'; expected a BAM file"),
        (bgzf(b"CRAM\3\0"), "starts with b'CRAM'; expected a BAM file"),
        (bgzf(raw_header()[:6]), "ends inside the header's length: 2 of 4 bytes; the file is truncated"),
        (bgzf(raw_header()[:15]), "ends inside the header: 7 of 11 bytes; the file is truncated"),
        (bgzf(raw_header()[:-2]), "ends inside a reference: 10 of 12 bytes; the file is truncated"),
        (bgzf(raw_header() + b"\1\0"), "ends inside a record's length; the file is truncated"),
        (bgzf(raw_header() + RawRecord().pack()[:-1]), "ends inside a record: 97 of 98 bytes; the file is truncated"),
    ],
)
def test_files_that_are_not_whole_bam_files(tmp_path, data, message):
    assert error_from(write(tmp_path / "a.bam", data)) == message


def test_a_file_that_is_not_there(tmp_path):
    assert error_from(tmp_path / "a.bam") == "cannot be opened: No such file or directory"


def test_a_folder(tmp_path):
    assert error_from(tmp_path) == "cannot be opened: Is a directory"


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, 0, r"damaged near compressed byte \d+: A BGZF block should start with .*"),
        (12, ord("X"), r"damaged near compressed byte \d+: Missing BC, this isn't a BGZF file!"),
        (14, 3, r"damaged near compressed byte \d+: .*"),
        (16, 9, r"damaged near compressed byte \d+: a BGZF block claims a negative size"),
        (17, 77, r"damaged near compressed byte \d+: .*"),
        (20, 0xFF, r"damaged near compressed byte \d+: .*"),
        (-8, 0x55, r"damaged near compressed byte \d+: CRC is b'.*', not b'.*'"),
        (-1, 0x55, r"damaged near compressed byte \d+: Decompressed to 102, not \d+"),
    ],
)
def test_a_damaged_block(tmp_path, at, value, message):
    block = bytearray(bgzf_block(RawRecord().pack()))
    block[at] = value
    path = write(tmp_path / "a.bam", bgzf_block(raw_header()) + block + EOF_BLOCK)
    assert re.fullmatch(message, error_from(path))


def test_damage_in_the_first_block(tmp_path):
    data = bytearray(bgzf(raw_header()))
    data[17] = 0x70
    assert re.fullmatch("not a BGZF file, or damaged at its start: .*", error_from(write(tmp_path / "a.bam", data)))


def test_seeking_to_nowhere(tmp_path):
    path = write(tmp_path / "a.bam", bgzf(raw_header()))
    for offset in (1 << 16, 60_000, -5):
        with BamReader(path) as reader, pytest.raises(AlignmentError, match=f"a.bam: cannot seek to {offset}: "):
            reader.seek(offset)


# Hostile content: an error, and no memory to speak of


def test_a_header_of_two_gigabytes(tmp_path):
    data = b"BAM\1" + struct.pack("<i", 2**31 - 1) + b"x" * 100
    assert bounded(write(tmp_path / "a.bam", bgzf(data))) == (
        "ends inside the header: 100 of 2147483647 bytes; the file is truncated"
    )


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            b"BAM\1" + struct.pack("<i", -1),
            "the header's length is -1; expected 0 to 2147483648; the file is damaged",
        ),
        (
            b"BAM\1" + struct.pack("<ii", 0, 2**31 - 1),
            "the number of references is 2147483647; expected 0 to 67108864; the file is damaged",
        ),
        (
            b"BAM\1" + struct.pack("<ii", 0, -2),
            "the number of references is -2; expected 0 to 67108864; the file is damaged",
        ),
        (
            b"BAM\1" + struct.pack("<ii", 0, 1 << 26) + struct.pack("<i2si", 2, b"a", 5) * 9,
            "ends inside a reference name's length: 0 of 4 bytes; the file is truncated",
        ),
        (
            b"BAM\1" + struct.pack("<iii", 0, 1, 1 << 30),
            "a reference name's length is 1073741824; expected 0 to 65536; the file is damaged",
        ),
        (raw_header([(b"m/1\nccs", 9)]), "a reference name is empty or not printable; the file is damaged"),
        (raw_header([(b"m/1\0ccs", 9)]), "a reference name is empty or not printable; the file is damaged"),
        (raw_header([(b"", 9)]), "a reference name is empty or not printable; the file is damaged"),
        (
            b"BAM\1" + struct.pack("<iii2si", 0, 1, 2, b"ab", 9),
            "a reference name is empty or not printable; the file is damaged",
        ),
        (
            b"BAM\1" + struct.pack("<iiii", 0, 1, 0, 9),
            "a reference name is empty or not printable; the file is damaged",
        ),
    ],
)
def test_hostile_headers(tmp_path, header, message):
    assert bounded(write(tmp_path / "a.bam", bgzf(header))) == message


def bounded(path, read=read_records):
    """As `error_from`; and reading must not take more than 8 MB."""
    tracemalloc.start()
    try:
        text = error_from(path, read)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    return text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 2**31 - 1}, "a record claims 2147483647 bytes; expected 33 to 268435456"),
        ({"size": -1}, "a record claims -1 bytes; expected 33 to 268435456"),
        ({"size": 0}, "a record claims 0 bytes; expected 33 to 268435456"),
        ({"size": 32}, "a record claims 32 bytes; expected 33 to 268435456"),
        ({"size": 1 << 28}, "ends inside a record: 98 of 268435456 bytes; the file is truncated"),
        ({"length": -1}, "record 'm/1/0_4' is shorter than its own fields; the file is damaged"),
        ({"length": -(2**31)}, "record 'm/1/0_4' is shorter than its own fields; the file is damaged"),
        ({"length": 2**31 - 1}, "record 'm/1/0_4' is shorter than its own fields; the file is damaged"),
        ({"num_ops": 65_535}, "record 'm/1/0_4' is shorter than its own fields; the file is damaged"),
        ({"name_length": 0}, "record '' is shorter than its own fields; the file is damaged"),
        ({"name_length": 255}, "record '' is shorter than its own fields; the file is damaged"),
        ({"name": b"m/1\n/0_4\0"}, "record 'm/1\\n/0_4': its name is not printable; the file is damaged"),
        ({"name": b"m/1\x1b[2J\0"}, "record 'm/1\\x1b[2J': its name is not printable; the file is damaged"),
    ],
)
def test_hostile_records(tmp_path, fields, message):
    assert bounded(write(tmp_path / "a.bam", bgzf(raw_header() + RawRecord(**fields).pack()))) == message


@pytest.mark.parametrize(
    ("tags", "at"),
    [
        (b"p", 0),
        (b"pw", 0),
        (b"zmi\1\0", 7),
        (b"zmA", 4),
        (b"pwBC\xff\xff\xff\xff\1\2", 8 + 2**32 - 1),
        (b"pwBI\xff\xff\xff\x7f\1\2", 8 + 4 * (2**31 - 1)),
        (b"pwBC\2\0", 3),
        (b"pwB", 3),
        (b"RGZabc", 3),
        (b"RGHabc", 3),
        (b"zmq\1", 3),
        (b"zmC\1zm\n\1", 7),
        (b"pwBZ\1\0\0\0\1", 8),
        (b"pwB\n\1\0\0\0\1", 8),
    ],
)
def test_hostile_tags(tmp_path, tags, at):
    path = write(tmp_path / "a.bam", bgzf(raw_header() + RawRecord(tags=tags).pack()))
    before = len(RawRecord(tags=b"").pack()) - 4
    assert bounded(path, lambda path: read_records(path)[0].tag("pw")) == (
        f"read m/1/0_4: its tags are damaged before byte {before + at} of {before + len(tags)}; "
        "copy the file again or rerun what wrote it"
    )


def test_a_record_too_short_for_its_fixed_fields():
    with pytest.raises(AlignmentError, match=re.escape("a.bam: a record of 31 bytes; expected at least 32")):
        BamRecord(bytes(31), "a.bam")
    assert record_name(bytes(8) + b"\x05" + bytes(25)) == b""


def test_a_block_that_unpacks_to_megabytes_stays_one_block(tmp_path):
    record = RawRecord(tags=b"xxZ" + b"a" * (1 << 20) + b"\0")
    path = write(tmp_path / "a.bam", bgzf_block(raw_header() + record.pack()) + EOF_BLOCK)
    (decoded,) = read_records(path)
    assert len(decoded.tag("xx")) == 1 << 20


# Damage

CONFIG = ConsensusConfig(max_passes=3, window_length=25)


def content(subreads_path, ccs_path):
    """All that two files give: names, records and windows of each molecule."""
    found = []
    for raw in read_molecules(subreads_path, ccs_path):
        reads = [decode_subread(record, subreads_path) for record in raw.subreads]
        pileup = build_pileup(decode_ccs(raw.ccs, ccs_path), [read for read in reads if read], CONFIG.max_passes)
        windows = cut_windows(pileup, CONFIG)
        rows = window_rows(pileup, windows, np.arange(len(windows)), CONFIG)
        found.append((raw.name, raw.num_unusable, raw.ccs, raw.subreads, rows.tobytes()))
    return found


def outcome(read, expected=None):
    """The error's text, or "same" for the expected content, or "read" where any will do."""
    try:
        found = read()
    except GenoformerError as error:
        text = str(error)
    else:
        assert expected is None or found == expected
        return "read" if expected is None else "same"
    assert text.isprintable()  # one line
    assert len(text) < 1000
    return text


def flipped_bits(data, path, seed, count):
    """Writes `count` copies of the data with one flipped bit to `path`, one after the other."""
    rng = random.Random(seed)
    for _ in range(count):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        yield path.write_bytes(flipped)


@pytest.fixture(scope="module")
def whole_pair(tmp_path_factory):
    """Two small BAM files, in blocks small enough that damage hits records and headers alike."""
    rng = random.Random(5)
    folder = tmp_path_factory.mktemp("whole")
    reads, ccs = [], []
    for zmw in (3, 4, 70_000, 70_001):
        sequence = "".join(rng.choices("ACGT", k=120))
        ccs.append(ccs_read(zmw, sequence, np=4, ec=3.5, RG="r"))
        reads += [subread(zmw, sequence[i:60] + sequence[63:], f"{60 - i}=3D57=", i, REVERSE * (i % 2), RG="r")
                  for i in range(4)]  # fmt: skip
    return write_bam(folder / "subreads.bam", reads), write_bam(folder / "ccs.bam", ccs)


def uncompressed(path):
    with BamReader(path) as reader:
        reader.seek(0)
        return reader.file.read(1 << 30)


@pytest.fixture(params=[0, 1], ids=["subreads", "ccs"])
def damaged_pair(request, tmp_path, whole_pair):
    """A whole file, the path of its damaged copy, and the pair with the copy in its place."""
    path = tmp_path / "damaged.bam"
    pair = (path, whole_pair[1]) if request.param == 0 else (whole_pair[0], path)
    return whole_pair[request.param], path, pair


def test_a_flipped_bit_is_an_error_or_changes_nothing(whole_pair, damaged_pair):
    whole, path, pair = damaged_pair
    expected = content(*whole_pair)
    data = bgzf(uncompressed(whole), 300)
    path.write_bytes(data)
    assert outcome(lambda: content(*pair), expected) == "same"
    outcomes = [outcome(lambda: content(*pair), expected) for _ in flipped_bits(data, path, 1, 200)]
    assert outcomes.count("same") < 60  # time stamps and the like
    assert sum("damaged" in text or "truncated" in text for text in outcomes) > 100


def test_a_bit_flipped_before_compression_is_an_error_or_can_be_read(damaged_pair):
    """Checksums hold, so values may change; whatever the fields say, no other exception may come."""
    whole, path, pair = damaged_pair
    outcomes = []
    for _ in flipped_bits(uncompressed(whole), path, 2, 400):
        path.write_bytes(bgzf(path.read_bytes()))
        outcomes.append(outcome(lambda: content(*pair)))
    assert 20 < outcomes.count("read") < 380


def test_a_file_cut_off_anywhere_is_an_error(damaged_pair):
    whole, path, pair = damaged_pair
    data = bgzf(uncompressed(whole), 300)
    for size in [0, 1, 2, 17, 18, len(data) - 28, len(data) - 1, *random.Random(3).sample(range(len(data)), 50)]:
        path.write_bytes(data[:size])
        text = outcome(lambda: content(*pair))
        assert re.match(f"{path}: (the file is empty|has no end-of-file block|starts with b)", text)


def test_a_file_cut_off_between_blocks_and_given_an_end(damaged_pair):
    whole, path, pair = damaged_pair
    data = bgzf(uncompressed(whole), 300)
    starts = [match.start() for match in re.finditer(re.escape(EOF_BLOCK[:16]), data)]
    assert len(starts) > 3
    for start in starts[1:-1]:
        path.write_bytes(data[:start] + EOF_BLOCK)
        assert "the file is truncated" in outcome(lambda: content(*pair))


@pytest.fixture(scope="module")
def human(shared_data):
    """Paths of the real pair, and the records of its molecules."""
    folder = shared_data / "consensus" / "human_1m"
    paths = folder / "subreads_to_ccs.bam", folder / "ccs.bam"
    return *paths, read_molecules(*paths)


def test_real_files_cut_off_anywhere(tmp_path, human):
    subreads, ccs, _ = human
    data = subreads.read_bytes()
    path = tmp_path / "cut.bam"
    for size in random.Random(4).sample(range(len(data)), 50):
        path.write_bytes(data[:size])
        assert outcome(lambda: read_molecules(path, ccs)).startswith(f"{path}: has no end-of-file block")


@pytest.mark.parametrize(("damaged", "count"), [(0, 16), (1, 24)], ids=["subreads", "ccs"])
def test_real_files_with_a_flipped_bit(tmp_path, human, damaged, count):
    *files, expected = human
    data = files[damaged].read_bytes()
    path = files[damaged] = tmp_path / "damaged.bam"
    outcomes = [outcome(lambda: read_molecules(*files), expected) for _ in flipped_bits(data, path, 5, count)]
    assert sum("damaged near compressed byte" in text for text in outcomes) > count // 2


def test_zmws_of_a_damaged_file_come_until_the_damage(tmp_path, human):
    subreads, _, molecules = human
    data = bytearray(subreads.read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "damaged.bam"
    path.write_bytes(data)
    zmws = []
    with BamReader(path) as reader, pytest.raises(AlignmentError, match=f"^{path}: damaged near compressed byte "):
        zmws.extend(group.zmw for group in iterate_zmws(reader))
    assert 0 < len(zmws) < 10
    assert zmws == [molecule.zmw for molecule in molecules][: len(zmws)]
