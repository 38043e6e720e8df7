"""The command that renews a certificate: by certbot, with its own key, or as a request to its authority."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Final

from cryptography import x509

from echod.config.errors import LocatedError
from echod.small_files import Unsuitable, read_whole
from echod.tls.certificate_facts import MALFORMED, facts_of

LETSENCRYPT: Final = "/etc/letsencrypt/live/"
EXPIRED: Final = re.compile(r"(/.*): the certificate expired on ")  #: an error of `echod.tls.certificates`


def renewal(source: str, key: str | None, *, self_signed: bool) -> str:
    """The command for the certificate in the file `source`. Its key is in the same file if `key` is None."""
    if source.startswith(LETSENCRYPT):
        name = source.removeprefix(LETSENCRYPT).partition("/")[0]
        return f"certbot renew --cert-name {shlex.quote(name)} && echoctl reload"
    file = shlex.quote(source)
    secret = file if key is None else shlex.quote(key)
    if self_signed:
        new = shlex.quote(f"{source}.new")
        keep = "" if key is not None else f" && openssl pkey -in {file} >> {new}"
        signed = f"openssl x509 -in {file} -signkey {secret} -days 365 -out {new}"
        return f"{signed}{keep} && mv {new} {file} && echoctl reload"
    request = f"openssl x509 -x509toreq -copy_extensions copy -in {file} -signkey {secret}"
    return f"{request} -out {shlex.quote(f'{source}.csr')}"


def renewal_after(error: LocatedError) -> str:
    """The command for an expired certificate that a configuration error names; "" for any other error.

    The rest of the configuration is not known, so the key is read from the file of the error.
    """
    match = EXPIRED.match(error.text)
    if match is None:
        return ""
    source = match[1]
    try:
        facts = facts_of(x509.load_pem_x509_certificate(read_whole(source)))
        content = tomllib.loads(read_whole(error.file).decode())
    except (OSError, Unsuitable, UnicodeDecodeError, *MALFORMED):
        return ""
    table = content
    for name in error.path.split(".")[:-1]:
        table = table.get(name, {})
    key = table.get("key")
    secret = str(error.file.absolute().parent / key) if isinstance(key, str) else None
    return renewal(source, secret, self_signed=facts.subject == facts.issuer)
