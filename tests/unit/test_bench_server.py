from bench.server import mappings

SMAPS = """\
5580a000-5580b000 r-xp 00001000 fe:00 1234                   /usr/bin/python3 (with a blank)
Size:                  4 kB
Rss:                  40 kB
Pss:                  20 kB
Shared_Clean:         30 kB
Private_Clean:         8 kB
Private_Dirty:         2 kB
VmFlags: rd ex mr mw me
7ffc0000-7ffc1000 rw-p 00000000 00:00 0                      [stack]
Rss:                  12 kB
Private_Dirty:        12 kB
"""


def test_a_file_is_told_by_its_inode_and_other_memory_by_its_address() -> None:
    assert [
        ("fe:00 1234 00001000", 40 * 1024, 10 * 1024),
        ("7ffc0000-7ffc1000", 12 * 1024, 12 * 1024),
    ] == list(mappings(SMAPS))
