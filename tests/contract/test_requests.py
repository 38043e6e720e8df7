"""bin over HTTP: the status, headers and body that a request names, the chosen faults, and wrong requests."""

from __future__ import annotations

import http.client
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.contract.matrix import REQUEST, Contract, everywhere, rest
from tests.daemon import SECONDS

NONE: Final[Mapping[str, str]] = MappingProxyType({})
SECRETS: Final = {"Cookie": "secret=1", "Authorization": "Basic x"}


class Responding(Contract):
    def ask(
        self, target: str, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] = NONE
    ) -> http.client.HTTPResponse:
        """The response to one request, whose body is still to be read."""
        host, port = self.daemon.inet(self.service, self.name)
        client = http.client.HTTPConnection(host, port, timeout=SECONDS)
        self.addCleanup(client.close)
        client.request(method, target, body or None, dict(headers))
        return client.getresponse()

    def test_the_query_names_status_headers_and_body(self) -> None:
        response = self.ask("/?status=503&header=Retry-After:5&header=X-A:b&body=sorry&delay=1ms")
        self.assertEqual((response.status, response.reason), (503, "Service Unavailable"))
        self.assertEqual((response.getheader("Retry-After"), response.getheader("X-A")), ("5", "b"))
        self.assertEqual(response.read(), b"sorry")

    def test_the_path_and_a_header_name_them_as_well(self) -> None:
        response = self.ask("/any/status=418", headers={"Echod-Bin": "size=200000"})
        self.assertEqual((response.status, len(response.read())), (418, 200_000))

    def test_the_body_of_a_request_comes_back(self) -> None:
        response = self.ask("/", "POST", b"hello", {"Content-Type": "text/html"})
        self.assertEqual((response.read(), response.getheader("content-type")), (b"hello", "text/plain; charset=utf-8"))

    def test_a_request_without_a_wish_is_described(self) -> None:
        described = json.loads(self.ask("/a?x", headers=SECRETS).read())
        self.assertEqual(
            described, {"error": "x: unknown key; expected one of: " + described["error"].partition("one of: ")[2]}
        )
        described = json.loads(self.ask("/a", headers=SECRETS).read())
        self.assertEqual((described["method"], described["path"]), ("GET", "/a"))
        self.assertEqual(set(described["headers"]), {"host"})

    def test_faults_cut_the_response(self) -> None:
        response = self.ask("/?size=10000&close-after=1000")
        with self.assertRaises(http.client.IncompleteRead):
            response.read()
        with self.assertRaises((http.client.RemoteDisconnected, ConnectionResetError)):
            self.ask("/?reset-after=0")

    def test_the_next_request_of_a_connection_has_its_own_faults(self) -> None:
        client = self.connect()
        client.sendall(b"GET /chunk=10 HTTP/1.1\r\nHost: x\r\n\r\nGET /status=204 HTTP/1.1\r\nHost: x\r\n"
                       b"Connection: close\r\n\r\n")  # fmt: skip
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", rest(client)), [b"200", b"204"])

    def test_a_wrong_wish_is_answered_in_one_line(self) -> None:
        for target, said in (
            ("/?status=99", "status: 99 must be a number from 200 to 599"),
            ("/?delay=1h", "delay: at most 30s here"),
            ("/?header=Set-Cookie:a=b", "header: Set-Cookie cannot be chosen"),
            ("/?header=a", "header: a must be NAME:VALUE in ASCII"),
            ("/?drop=1", "drop: does not exist on requests"),
            ("/?delay=1ms&delay=2ms", "delay: appears twice"),
        ):
            response = self.ask(target)
            self.assertEqual((response.status, json.loads(response.read())), (400, {"error": said}))

    def test_a_page_cannot_run_a_script_or_guess_the_type(self) -> None:
        response = self.ask("/?body=%3Cscript%3E&header=Content-Type:text/html")
        self.assertEqual(response.getheader("content-type"), "text/html")
        self.assertIn("sandbox", response.getheader("content-security-policy") or "")
        self.assertEqual(response.getheader("x-content-type-options"), "nosniff")


class Revoking(Contract):
    """revocation: the authority, its CRL, and OCSP."""

    def ask(self, target: str, body: bytes | None = None) -> tuple[int, str | None, bytes]:
        host, port = self.daemon.inet(self.service, self.name)
        client = http.client.HTTPConnection(host, port, timeout=SECONDS)
        self.addCleanup(client.close)
        client.request("GET" if body is None else "POST", target, body)
        response = client.getresponse()
        return response.status, response.getheader("content-type"), response.read()

    def test_the_list_is_signed_by_the_authority(self) -> None:
        _, _, pem = self.ask("/ca.pem")
        status, kind, der = self.ask("/ca.crl")
        key: Any = x509.load_pem_x509_certificate(pem).public_key()
        crl = x509.load_der_x509_crl(der)
        self.assertEqual((status, kind, len(crl)), (200, "application/pkix-crl", 1))
        self.assertTrue(crl.is_signature_valid(key))

    def test_ocsp_answers_post_and_get(self) -> None:
        ca = x509.load_pem_x509_certificate(self.ask("/ca.pem")[2])
        request = ocsp.OCSPRequestBuilder().add_certificate(ca, ca, SHA1()).build().public_bytes(Encoding.DER)
        for target, body in (("/ocsp", request), ("/ocsp/" + quote(b64encode(request), safe=""), None)):
            status, kind, der = self.ask(target, body)
            self.assertEqual((status, kind), (200, "application/ocsp-response"))
            self.assertEqual(ocsp.load_der_ocsp_response(der).certificate_status, ocsp.OCSPCertStatus.UNKNOWN)
        failed = ocsp.load_der_ocsp_response(self.ask("/ocsp", b"x")[2]).response_status
        self.assertEqual(failed, ocsp.OCSPResponseStatus.MALFORMED_REQUEST)

    def test_other_requests_are_refused_in_one_line(self) -> None:
        for target, body, status in (("/other", None, 404), ("/ca.crl", b"x", 405), ("/ocsp", None, 405)):
            self.assertEqual(self.ask(target, body)[:2], (status, "application/json"))


globals().update(everywhere(Responding, REQUEST, "bin") | everywhere(Revoking, REQUEST, "revocation"))
