"""The registry of transports: each scheme has its declared properties, and the import needs no Twisted."""

import subprocess
import sys

import pytest

from echod.address_options import OPTIONS
from echod.shape import Shape
from echod.transports.registry import EVERY_FORM, SCHEMES
from echod.transports.transport import Datagram, Message, Stream, every_transport, transport_of

CLASSES = {Shape.STREAM: Stream, Shape.MESSAGE: Message, Shape.DATAGRAM: Datagram}


@pytest.mark.parametrize("scheme", [scheme for scheme, form in EVERY_FORM.items() if form.available])
def test_a_line_names_a_module_with_a_transport_of_its_scheme_and_shape(scheme):
    transport, form = transport_of(scheme), EVERY_FORM[scheme]
    if not form.layers and form.shape is not Shape.REQUEST:
        assert transport.scheme == scheme
        assert transport.shape is form.shape
    assert isinstance(transport, CLASSES[transport.shape])
    assert every_transport()[scheme] is transport


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_option_of_a_scheme_has_a_grammar(scheme):
    assert SCHEMES[scheme].options <= OPTIONS.keys()


def test_no_two_transports_have_the_same_sockets():
    taken = [(family, transport.kind) for transport in set(every_transport().values()) for family in transport.families]
    assert len(taken) == len(set(taken))


def test_the_registry_and_the_address_grammar_import_no_twisted():
    code = "import sys, echod.address, echod.model; sys.exit(any(name.startswith('twisted') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
