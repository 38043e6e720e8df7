"""etc/monitoring/ in SmokePing and Nagios: a graph is drawn, and results of checks are read back."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import SECONDS, Daemon, environment, eventually, run
from tests.system_wide.others import file, tool

pytestmark = pytest.mark.needs_tools

ECHOCTL = Path(sys.executable).with_name("echoctl")
MONITORING = Path(__file__).parents[2] / "etc/monitoring"
CONFIG = """
[services.reflector]
listen = ["udp://127.0.0.1:0"]
[services.echo]
listen = ["tcp://127.0.0.1:0"]
"""
STEP = 30  # seconds of a row of data; it is unknown if two measurements are twice as far apart
SMOKEPING = """
*** General ***
owner = owner
contact = owner@localhost
mailhost = localhost
sendmail = /bin/true
imgcache = {dir}/pictures
imgurl = pictures
datadir = {dir}/data
dyndir = {dir}/data
piddir = {dir}
cgiurl = http://localhost/
smokemail = /etc/smokeping/smokemail
tmail = /etc/smokeping/tmail

*** Alerts ***
to = root@localhost
from = root@localhost

*** Database ***
step = {step}
pings = 3
AVERAGE 0.5 1 1000

*** Presentation ***
template = /etc/smokeping/basepage.html
charset = utf-8
+ overview
width = 600
height = 50
range = 10m
+ detail
width = 600
height = 200
"Last 10 Minutes" 10m

*** Probes ***
+ Echoctl
binary = {echoctl}
timeout = 30

*** Targets ***
probe = Echoctl
menu = Top
title = Top
interval = 0.01
wait = 20
+ Path
menu = path
title = path
host = 127.0.0.1
url = udp://%host%:{reflector}
+ Server
menu = server
title = server
host = 127.0.0.1
url = udp://%host%:{reflector}
value = server
+ Connect
menu = connect
title = connect
host = 127.0.0.1
url = tcp://%host%:{echo}
options = --connect -4
+ Closed
menu = closed
title = closed
host = 127.0.0.1
url = udp://%host%:9
"""
FETCH = """
use RRDs;
my ($start, $step, $names, $rows) = RRDs::fetch($ARGV[0], "AVERAGE", "-s", "-300");
for (@$rows) { print "$_->[1] ", $_->[2] // "none", "\\n" if defined $_->[1] }
"""
NAGIOS = """
cfg_file={dir}/command.cfg
cfg_file={dir}/objects.cfg
log_file={dir}/nagios.log
object_cache_file={dir}/objects.cache
status_file={dir}/status.dat
status_update_interval=5
check_external_commands=0
lock_file={dir}/nagios.lock
temp_file={dir}/nagios.tmp
temp_path={dir}
check_result_path={dir}
command_file={dir}/nagios.cmd
query_socket={dir}/nagios.qh
state_retention_file={dir}/retention.dat
nagios_user={user}
nagios_group={group}
interval_length=1
service_inter_check_delay_method=n
log_initial_states=1
"""
OBJECTS = """
define timeperiod {
  timeperiod_name always
  alias always
}
define command {
  command_name none
  command_line /bin/true
}
define contact {
  contact_name administrator
  host_notification_commands none
  service_notification_commands none
  host_notification_period always
  service_notification_period always
}
define host {
  host_name local
  address 127.0.0.1
  max_check_attempts 1
  active_checks_enabled 0
  contacts administrator
}
"""
SERVICE = """
define service {
  host_name local
  service_description %s
  check_command check_echoctl!%s!%s!%s
  max_check_attempts 1
  check_interval 600
  retry_interval 600
  contacts administrator
}
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as running:
        yield running
        running.check()


def test_smokeping_measures_and_draws(daemon, tmp_path):
    smokeping, perl = tool("smokeping"), tool("perl")
    template = file("/etc/smokeping/basepage.html")
    assert template in SMOKEPING
    probes = tmp_path / "lib/Smokeping/probes"
    for folder in (probes, tmp_path / "pictures", tmp_path / "data"):
        folder.mkdir(parents=True)
    (probes / "Echoctl.pm").write_bytes((MONITORING / "Echoctl.pm").read_bytes())
    ports = {name: str(daemon.inet(name, scheme)[1]) for name, scheme in (("reflector", "udp"), ("echo", "tcp"))}
    text = SMOKEPING.replace("{dir}", str(tmp_path)).replace("{echoctl}", str(ECHOCTL))
    text = text.replace("{step}", str(STEP))
    for name, port in ports.items():
        text = text.replace(f"{{{name}}}", port)
    (tmp_path / "config").write_text(text)

    def smoke(*words: str) -> str:
        variables = environment(PERL5LIB=str(tmp_path / "lib"), LC_ALL="C")
        ended = run(smokeping, f"--config={tmp_path}/config", *words, env=variables, seconds=120)
        assert ended.returncode == 0, ended.stderr.decode()
        return ended.stdout.decode() + ended.stderr.decode()

    def measured(target: str) -> list[str]:
        return run(perl, "-e", FETCH, f"{tmp_path}/data/{target}.rrd").stdout.decode().splitlines()

    def has_measured() -> bool:
        said = smoke("--debug")
        assert len(re.findall(r"127\.0\.0\.1: got(?: \d\.\d+e[-+]\d+){3}$", said, re.MULTILINE)) == 3
        return all(measured(target) for target in ("Path", "Server", "Connect", "Closed"))

    assert "syntax OK" in smoke("--check")
    has_measured()
    begun = time.time() // STEP
    assert eventually(lambda: time.time() // STEP > begun)
    assert eventually(has_measured, 120)
    for target in ("Path", "Server", "Connect"):
        assert all(float(line.split()[1]) > 0 for line in measured(target)), target
        assert all(float(line.split()[0]) == 0 for line in measured(target)), target
    assert all(float(line.split()[0]) == 3 for line in measured("Closed"))
    smoke(f"--static={tmp_path}/pages")
    for target in ("Path", "Connect"):
        (picture,) = (tmp_path / "pictures").glob(f"{target}_last_*.png")
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_nagios_reads_the_results_of_checks(daemon, tmp_path):
    nagios = tool("nagios4")
    reflector = f"udp://$HOSTADDRESS$:{daemon.inet('reflector', 'udp')[1]}"
    services = {
        "right": (reflector, "30s,50%", "60s,90%"),
        "slow": (reflector, "0.000001ms,50%", "60s,90%"),
        "closed": ("udp://$HOSTADDRESS$:9", "1s,20%", "2s,60%"),
        "unusable": ("udp://$HOSTADDRESS$", "1s,20%", "2s,60%"),
    }
    user = pwd.getpwuid(os.getuid())
    command = (MONITORING / "nagios.cfg").read_text()
    for written, used in (("/usr/bin/echoctl ", f"{ECHOCTL} "), ("-W 2s", "-W 20s")):
        assert written in command
        command = command.replace(written, used)
    (tmp_path / "command.cfg").write_text(command)
    (tmp_path / "objects.cfg").write_text(
        OBJECTS + "".join(SERVICE % (name, *arguments) for name, arguments in services.items())
    )
    main = NAGIOS.replace("{dir}", str(tmp_path)).replace("{user}", user.pw_name)
    (tmp_path / "nagios.cfg").write_text(main.replace("{group}", str(user.pw_gid)))
    log = tmp_path / "nagios.log"
    with subprocess.Popen(
        [nagios, str(tmp_path / "nagios.cfg")], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:

            def results() -> dict[str, tuple[str, str]]:
                if not (tmp_path / "status.dat").exists():
                    return {}
                status = (tmp_path / "status.dat").read_text()
                found = {}
                for block in re.findall(r"^servicestatus \{\n(.*?)^\s*\}", status, re.MULTILINE | re.DOTALL):
                    values = dict(line.strip().split("=", 1) for line in block.splitlines() if "=" in line)
                    if values["has_been_checked"] == "1":
                        found[values["service_description"]] = (
                            values["current_state"],
                            values["plugin_output"] + values["performance_data"],
                        )
                return found

            assert eventually(lambda: results().keys() == services.keys(), 120), log.read_text()
            found = results()
        finally:
            process.terminate()
            process.wait(SECONDS)
    assert {name: state for name, (state, _) in found.items()} == {
        "right": "0",
        "slow": "1",
        "closed": "2",
        "unusable": "3",
    }
    assert re.fullmatch(r"PING OK - udp://127\.0\.0\.1:\d+: .* ms, 0% lost ?rta=\d.*", found["right"][1])
    assert "pl=0%;50;90;0;100" in found["right"][1]
    assert found["closed"][1].startswith("PING CRITICAL - udp://127.0.0.1:9: no reply, 100% lost")
