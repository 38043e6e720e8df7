"""Ansible's connection to a box: commands run in its namespaces, and files are copied below its root folder."""
# mypy: ignore-errors
# Ansible loads this file itself, and is not installed in the environment of the tests.

import shutil

from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = """
name: box
short_description: Runs in the namespaces of a process
description: Runs in the namespaces of a process, with nsenter.
options:
  leader:
    description: The process.
    vars:
      - name: box_leader
"""


class Connection(Local):
    """Local, but in the box."""

    transport = "box"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        """Run a command in it."""
        leader = self.get_option("leader")
        nsenter = f"nsenter --target {leader} --mount --uts --ipc --net --pid --cgroup --root=/proc/{leader}/root"
        path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        return super().exec_command(f"{nsenter} -- /usr/bin/env -i {path} HOME=/root {cmd}", in_data, sudoable)

    def put_file(self, in_path, out_path):
        """Copy a file into it."""
        shutil.copyfile(in_path, self._outside(out_path))

    def fetch_file(self, in_path, out_path):
        """Copy a file out of it."""
        shutil.copyfile(self._outside(in_path), out_path)

    def _outside(self, path):
        return f"/proc/{self.get_option('leader')}/root{path}"
