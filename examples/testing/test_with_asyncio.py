"""Tests of an asyncio client: the daemon is a process of its own, so it needs no event loop."""

import asyncio
import unittest

from echod.testing import Daemon


class ClientTest(unittest.IsolatedAsyncioTestCase):
    """A daemon for each test."""

    def setUp(self):
        self.echod = self.enterContext(Daemon("echo=tcp://127.0.0.1:0"))

    async def test_half_close(self):
        reader, writer = await asyncio.open_connection(*self.echod.address)
        writer.write(b"hello")
        writer.write_eof()
        self.assertEqual(await reader.read(), b"hello")
        writer.close()
        await writer.wait_closed()


if __name__ == "__main__":
    unittest.main()
