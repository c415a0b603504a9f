"""A bare git repository: its ids, trees and history are git's own, by the `git` command."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FILE, LINK, FOLDER = "100644", "120000", "040000"
NOTHING = "0" * 40
_REVISION = re.compile(r"\w[\w./+-]*")  # no ~, ^, @{ or :, by which git finds its way through history


class GitError(Exception):
    """git said no."""


class Leaf(NamedTuple):
    """What a tree says of a path: the mode, and the object that is there."""

    mode: str
    oid: str


class Entry(NamedTuple):
    """One line of a tree's listing, folders too."""

    path: str
    mode: str
    oid: str
    size: int


class LogEntry(NamedTuple):
    """One commit in a history."""

    oid: str
    author: str
    when: int
    title: str
    message: str


class GitRepo:
    """Reads and writes one bare repository. Objects never change, so what has been read is kept: a `git` process is dear."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, list[Entry]] = {}
        self._blobs: dict[str, bytes] = {}

    @classmethod
    def create(cls, folder: Path) -> GitRepo:
        folder.mkdir(parents=True)
        repo = cls(folder)
        repo.run("init", "--quiet", "--bare", "--initial-branch=main", "--template=")
        return repo

    def run(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        # Nothing of the developer's own settings, nor of a git hook that the tests may run in.
        environment = {"PATH": os.environ.get("PATH", ""), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **(env or {})}
        done = subprocess.run(
            ["git", "--git-dir", str(self.folder), *arguments], input=stdin, capture_output=True, env=environment, check=False
        )
        if done.returncode:
            raise GitError(done.stderr.decode(errors="replace").strip() or f"git {arguments[0]} failed")
        return done.stdout

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, a tag, a full ref or a commit id stands for."""
        if revision in self._entries:
            return revision
        if not _REVISION.fullmatch(revision) or ".." in revision:
            return None
        try:
            return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
        except GitError:
            return None

    def refs(self) -> dict[str, str]:
        """Each ref with its commit: an annotated tag with the commit that it is on."""
        lines = self.run("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)").decode().splitlines()
        return {parts[0]: parts[-1] for parts in map(str.split, lines)}

    def move(self, ref: str, new: str, old: str) -> None:
        """Move a ref, unless it has been moved: git compares it with `old` (`NOTHING`: not there yet) and swaps in one step."""
        self.run("update-ref", ref, new, old)

    def drop(self, ref: str) -> None:
        self.run("update-ref", "-d", ref)

    def tag(self, name: str, commit: str, message: str | None, who: Mapping[str, str]) -> None:
        note = ["-a", "-m", message] if message else []
        self.run("tag", *note, name, commit, env=who)

    def entries(self, commit: str) -> list[Entry]:
        """Everything in a commit's tree, its folders too."""
        if commit not in self._entries:
            lines = self.run("ls-tree", "-r", "-t", "-l", "-z", commit).split(b"\0")
            self._entries[commit] = [_entry(line) for line in lines if line]
        return self._entries[commit]

    def blobs(self, oids: Iterable[str]) -> dict[str, bytes]:
        """The contents of several blobs."""
        wanted = set(oids)
        if missing := sorted(wanted - self._blobs.keys()):
            out = io.BytesIO(self.run("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in missing).encode()))
            for oid in missing:
                self._blobs[oid] = out.read(int(out.readline().split()[-1]))
                out.readline()
        return {oid: self._blobs[oid] for oid in wanted}

    def write_blobs(self, contents: Sequence[bytes]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / str(number) for number in range(len(contents))]
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            oids = self.run("hash-object", "-w", "--no-filters", "--stdin-paths", stdin="".join(f"{path}\n" for path in paths).encode())
        written = oids.decode().split()
        self._blobs.update(zip(written, contents, strict=True))
        return written

    def write_tree(self, leaves: Mapping[str, Leaf]) -> str:
        """Write a tree with its folders.

        One `git mktree` a folder, as that takes any name at all: the index would refuse the odd ones that tests plant.
        """
        here, below = [], defaultdict[str, dict[str, Leaf]](dict)
        for path, leaf in leaves.items():
            name, _, rest = path.partition("/")
            if rest:
                below[name][rest] = leaf
            else:
                here.append((f"{leaf.mode} blob {leaf.oid}", name))
        here += [(f"{FOLDER} tree {self.write_tree(inside)}", name) for name, inside in below.items()]
        lines = [about.encode() + b"\t" + os.fsencode(name) + b"\0" for about, name in here]
        return self.run("mktree", "-z", stdin=b"".join(lines)).decode().strip()

    def write_commit(self, tree: str, parent: str | None, message: str, who: Mapping[str, str]) -> str:
        above = ["-p", parent] if parent else []
        return self.run("commit-tree", tree, *above, "-F", "-", stdin=message.encode(), env=who).decode().strip()

    def log(self, commit: str, *path: str, count: int = 1000) -> list[LogEntry]:
        shape = "%H%x00%an%x00%ct%x00%s%x00%b%x00%x1e"
        out = self.run("log", f"--max-count={count}", f"--format={shape}", commit, "--", *path).decode()
        records = (record.lstrip("\n").split("\0") for record in out.split("\x1e") if record.strip())
        return [LogEntry(oid, author, int(when), title, message.strip()) for oid, author, when, title, message, _ in records]

    def filtered_by_lfs(self, commit: str, paths: Iterable[str]) -> set[str]:
        """Which of the paths the repository's own .gitattributes (of its root) hand over to LFS."""
        attributes = [entry.oid for entry in self.entries(commit) if entry.path == ".gitattributes"]
        # git looks at plain paths only; the odd ones are what tests plant.
        asked = "".join(f"{path}\0" for path in paths if not path.startswith("/") and ".." not in path.split("/"))
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"".join(self.blobs(attributes).values()))
            file.flush()
            told = self.run("-c", f"core.attributesFile={file.name}", "check-attr", "-z", "--stdin", "filter", stdin=os.fsencode(asked))
        words = told.split(b"\0")
        return {os.fsdecode(path) for path, value in zip(words[::3], words[2::3], strict=False) if value == b"lfs"}

    def ignored(self, commit: str, paths: Iterable[str]) -> set[str]:
        """Which of the paths the repository's own .gitignore (of its root) keeps out, whether they are in it already or not."""
        rules = b"".join(self.blobs(entry.oid for entry in self.entries(commit) if entry.path == ".gitignore").values())
        if not rules:
            return set()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / ".gitignore").write_bytes(rules)
            asked = "".join(f"{path}\0" for path in paths if not path.startswith("/") and ".." not in path.split("/"))
            try:
                told = self.run(
                    "--work-tree", folder, "-C", folder, "check-ignore", "--no-index", "-z", "--stdin", stdin=os.fsencode(asked)
                )
            except GitError:  # how git says that none is
                return set()
        return set(filter(None, os.fsdecode(told).split("\0")))


def _entry(line: bytes) -> Entry:
    about, _, path = line.partition(b"\t")
    mode, _, oid, size = about.decode().split()
    return Entry(os.fsdecode(path), mode, oid, 0 if size == "-" else int(size))


def signature(name: str, when: int) -> dict[str, str]:
    """Who made a commit and when, as git wants to be told."""
    who: dict[str, str] = {}
    for role in ("AUTHOR", "COMMITTER"):
        who |= {f"GIT_{role}_NAME": name, f"GIT_{role}_EMAIL": f"{name}@localhost", f"GIT_{role}_DATE": f"{when} +0000"}
    return who
