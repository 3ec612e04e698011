"""A PostgreSQL server of the tests' own: its data in a folder, its port free, ended with the test.

PostgreSQL refuses to run as root, so where the tests do, the server runs as another user.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

PASSWORD = "s3cret"
LESS_THAN_ROOT = ("postgres", "nobody")


class Server:
    """PostgreSQL in a folder.

    Args:
        folder: Of its data; must not exist.
        binaries: Folder of initdb and postgres.
    """

    def __init__(self, folder: Path, binaries: Path):
        self._binaries, self._folder = binaries, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        folder.mkdir(mode=0o700)
        password = folder.with_name(f"{folder.name}.password")
        password.write_text(PASSWORD)
        self._user = _user()
        if self._user:
            for path in (folder, password):
                shutil.chown(path, self._user)
            for parent in folder.parents:  # pytest's folders let their owner in alone
                if parent.owner() == "root" and parent.stat().st_mode & 0o077 == 0:
                    parent.chmod(0o711)
        self._log = folder.with_name(f"{folder.name}.log")
        command = [str(binaries / "initdb"), "-D", str(folder), "-U", "kit", "-A", "scram-sha-256"]
        command += ["--pwfile", str(password), "-E", "UTF8", "-N"]
        done = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
            **self._as_user(),
        )  # fmt: skip
        assert done.returncode == 0, f"initdb ended with {done.returncode}: {done.stdout}{done.stderr}"

    @property
    def url(self) -> str:
        """Its address, password included."""
        return f"postgresql+psycopg://kit:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it, and waits until it answers.

        Not with `pg_ctl -w`: that compares clocks, and was seen to wait in vain for a server that was ready.
        """
        # fsync off: what the tests ask survives a server's restart, not the machine's
        settings = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        command = [str(self._binaries / "postgres"), "-D", str(self._folder)]
        command += [word for setting in settings for word in ("-c", setting)]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **self._as_user()
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, f"postgres ended: {self._log.read_text()}"
            assert time.monotonic() < deadline, f"postgres does not answer: {self._log.read_text()}"
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it at once, connections and all."""
        self._process.send_signal(signal.SIGINT)  # "fast": rolls back what is open
        self._process.wait(60)

    def restart(self) -> None:
        """As an administrator would."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _as_user(self) -> dict[str, Any]:
        options: dict[str, Any] = {"env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
        if self._user:
            options |= {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}
        return options


def _user() -> str | None:
    """Whom to be instead of root; None where the tests are not root."""
    if os.geteuid():
        return None
    for name in LESS_THAN_ROOT:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise AssertionError(f"PostgreSQL must not run as root, and there is none of the users {', '.join(LESS_THAN_ROOT)}")
