"""Tests of a client with unittest: `python -m unittest test_with_unittest.py`."""

import socket
import unittest

from echod.testing import Daemon


class ClientTest(unittest.TestCase):
    """One daemon for all tests of the class."""

    @classmethod
    def setUpClass(cls):
        cls.echod = cls.enterClassContext(Daemon("echo=tcp://127.0.0.1:0", "discard=udp://127.0.0.1:0"))

    def test_everything_comes_back(self):
        with socket.create_connection(self.echod.address, 30) as client:
            client.sendall(b"hello")
            self.assertEqual(client.recv(100), b"hello")

    def test_a_metric_is_one_datagram(self):
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(b"visits:1|c", self.echod.address_of("discard"))
            [datagram] = self.echod.received("discard", at_least=1)
        self.assertEqual(datagram.data, b"visits:1|c")


if __name__ == "__main__":
    unittest.main()
