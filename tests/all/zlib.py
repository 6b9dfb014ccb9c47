"""zlib itself, as the other side of tests/all/zlib.rs.

compress    reads texts; writes, for every setting of zlib, the settings and the texts compressed with it
noise       reads one text; writes it compressed with the settings that make most of it
decompress  reads messages with the window that they were compressed for; writes their texts

A block is its length in four bytes, the lowest first, and its bytes.
"""

import itertools
import struct
import sys
import zlib

TAIL = b"\x00\x00\xff\xff"
STRATEGIES = {
    "default": zlib.Z_DEFAULT_STRATEGY,
    "Huffman only": zlib.Z_HUFFMAN_ONLY,
    "fixed": zlib.Z_FIXED,
}
FLUSHES = {"sync": zlib.Z_SYNC_FLUSH, "full": zlib.Z_FULL_FLUSH, "final": zlib.Z_FINISH}
WAYS = [
    ("default", "sync"),
    ("default", "full"),
    ("default", "final"),
    ("Huffman only", "sync"),
    ("fixed", "sync"),
    ("fixed", "final"),
]


def read():
    data, blocks, at = sys.stdin.buffer.read(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        blocks.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return blocks


def write(*blocks):
    for block in blocks:
        sys.stdout.buffer.write(struct.pack("<I", len(block)) + block)


class Compressor:
    def __init__(self, bits, memory, level, strategy, flush):
        self.settings = (level, zlib.DEFLATED, -bits, memory, STRATEGIES[strategy])
        self.flush = flush
        self.stream = zlib.compressobj(*self.settings)

    def message(self, text):
        # In two parts, with a flush between them.
        half = len(text) // 2
        if self.flush == "final":
            # Each part is a stream of its own, and ends with a final block (RFC 7692 section 7.2.3.4).
            wire = b""
            for part in (text[:half], text[half:]):
                self.stream = zlib.compressobj(*self.settings)
                wire += self.stream.compress(part) + self.stream.flush(zlib.Z_FINISH)
            return wire + b"\x00"
        wire = self.stream.compress(text[:half]) + self.stream.flush(FLUSHES[self.flush])
        wire += self.stream.compress(text[half:]) + self.stream.flush(FLUSHES[self.flush])
        if not wire.endswith(TAIL):
            # It has nothing to say to an empty message (RFC 7692 section 7.2.3.6).
            assert not text
            return b"\x00"
        return wire[:-4]


def compress():
    texts = read()
    for bits, memory, level, (strategy, flush), takeover in itertools.product(
        range(9, 16), (1, 5, 9), (0, 1, 9), WAYS, (True, False)
    ):
        title = f"{bits} bits, memory {memory}, level {level}, {strategy}, {flush}, {takeover=}"
        compressor = Compressor(bits, memory, level, strategy, flush)
        write(title.encode(), bytes((bits, takeover)))
        for text in texts:
            if not takeover:
                compressor = Compressor(bits, memory, level, strategy, flush)
            write(compressor.message(text))


def noise():
    (text,) = read()
    for bits, memory, level, strategy in itertools.product(
        (9, 12, 15), (1, 5, 9), (1, 6), STRATEGIES
    ):
        title = f"{bits} bits, memory {memory}, level {level}, {strategy}"
        write(title.encode(), Compressor(bits, memory, level, strategy, "sync").message(text))


def decompress():
    blocks = iter(read())
    for setting in blocks:
        bits, takeover, count = setting
        stream = zlib.decompressobj(-bits)
        for _ in range(count):
            if not takeover:
                stream = zlib.decompressobj(-bits)
            write(stream.decompress(next(blocks) + TAIL))


{"compress": compress, "noise": noise, "decompress": decompress}[sys.argv[1]]()
