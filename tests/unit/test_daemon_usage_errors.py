"""The usage errors of the daemon: the wrong argument, and the suggestion."""

import pytest

from echod.daemon.usage_errors import meant_by, usage_error

OPTIONS = ("config=", "listen=", "console", "help")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("option --lisen not recognized", 'unknown option "--lisen"; did you mean --listen?; --help lists the options'),
        ("option --zzz not recognized", 'unknown option "--zzz"; --help lists the options'),
        ("option -z not recognized", 'unknown option "-z"; --help lists the options'),
        ("option -n not recognized", 'unknown option "-n"; it is an option of twistd: twistd --nodaemon echod …'),
        (
            "option --logfile not recognized",
            'unknown option "--logfile"; it is an option of twistd: twistd --logfile=…',
        ),
        ("option --\x1b[2J not recognized", 'unknown option "--\\x1b[2J"; --help'),
        ("option --config requires argument", "--config needs a value; --help"),
        ("option --console must not have an argument", "--console takes no value; --help"),
        ("anything else", "anything else; --help lists the options"),
    ],
)
def test_the_wrong_word_is_named(message, said):
    assert usage_error(message, OPTIONS).startswith(said)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("echo=tcp://[::1]:7", "; did you mean --listen echo=tcp://[::1]:7?"),
        ("tcp://[::1]:7", "; did you mean --listen KIND=tcp://[::1]:7?"),
        ("etc/echod.toml", "; did you mean --config etc/echod.toml?"),
        ("start", ""),
    ],
)
def test_an_argument_may_belong_to_an_option(argument, said):
    assert meant_by(argument) == said
