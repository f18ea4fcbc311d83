"""The real OpenStack clients against examples/compute: `npm run build`, then
/usr/bin/python3 bench/clients.py [--quick]. One line for each command, and its result.

Needs Debian's python3-openstackclient, python3-novaclient and python3-openstacksdk.
"""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import openstack
from keystoneauth1.exceptions import ConnectFailure, RetriableConnectionFailure

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAIN = os.path.join(ROOT, 'dist/examples/compute/nova-api.js')
CYCLES = 50 if '--quick' in sys.argv else 500
THREADS = 8
failures = []


# The server under test ------------------------------------------------------------------

@contextmanager
def nova_api(*flags):
    """Runs nova-api.js on a free port. Its log, of workers that died, is not shown."""
    process = subprocess.Popen(['node', MAIN, '--port', '0', *flags], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process, re.search(r'http://\S+', process.stdout.readline()).group()
    finally:
        process.send_signal(signal.SIGTERM)
        report('SIGTERM to the launcher', process.wait(40) == 0, 'exit 0')


def credentials(url):
    return {'OS_AUTH_URL': url + '/identity/v3', 'OS_IDENTITY_API_VERSION': '3',
            'OS_USERNAME': 'demo', 'OS_PASSWORD': 'secret', 'OS_USER_DOMAIN_NAME': 'Default',
            'OS_PROJECT_NAME': 'demo', 'OS_PROJECT_DOMAIN_NAME': 'Default',
            'OS_REGION_NAME': 'RegionOne'}


def report(what, good, detail=''):
    if not good:
        failures.append(what)
    print(f'{"ok " if good else "BAD"} {what}  ->  {detail}', flush=True)


# One command after another --------------------------------------------------------------
# command => exit status => what its output must match

COMMANDS = r'''
openstack token issue -f value -c project_id => 0 => ^0de4c1bcf3d14ab0a3b3a2ae2c0c9a01$
openstack catalog list -f value -c Name => 0 => keystone\nnova\nglance
openstack versions show -f value -c "Service Type" -c "Max Microversion" => 0 => compute 2\.47
openstack flavor list -f value -c Name => 0 => ^m1.tiny\nm1.small\nm1.medium\nm1.large$
openstack flavor show m1.tiny -f value -c id -c ram => 0 => ^1\n512$
openstack image list -f value -c Name => 0 => cirros\ndebian-12
openstack image show cirros -f value -c status => 0 => ^active$
openstack server create --flavor m1.tiny --image cirros demo -f value -c status => 0 => ^BUILD$
openstack server create --wait --flavor m1.tiny --image cirros demo-w -f value -c status -c addresses => 0 => \{'private': \['10\.0\.0\.\d+'\]\}\nACTIVE
openstack --os-compute-api-version 2.37 server create --nic none --wait --flavor 1 --image cirros demo-n -f value -c status -c addresses => 0 => ^\{\}\nACTIVE$
openstack server create --nic none --flavor 1 --image cirros never => 1 => nics must be a list
openstack server create --min 2 --max 2 --flavor 1 --image cirros twin -f value -c name => 0 => ^twin-1$
openstack server list -f value -c Name => 0 => ^twin-2\ntwin-1\ndemo-n\ndemo-w\ndemo$
openstack server list --limit 2 -f value -c Name => 0 => ^twin-2\ntwin-1$
openstack server list --name ^demo-.$ -f value -c Name => 0 => ^demo-n\ndemo-w$
openstack server list --long -f value -c Name -c "Power State" -c "Flavor Name" => 0 => demo 1 m1.tiny
openstack server show demo -f value -c name -c status -c image => 0 => cirros \(.*\ndemo\nACTIVE
openstack server stop demo => 0 => ^$
openstack server list --status SHUTOFF -f value -c Name => 0 => ^demo$
openstack server stop demo => 1 => Cannot 'stop' instance \S+ while it is in vm_state stopped \(HTTP 409\) \(Request-ID: req-
openstack server start demo => 0 => ^$
openstack server reboot --wait demo => 0 => Complete
openstack server reboot --hard demo => 0 => ^$
openstack server set --name renamed --property colour=blué --property x=1 demo => 0 => ^$
openstack server show renamed -f value -c name -c properties => 0 => renamed\n.*blué
openstack server unset --property colour renamed => 0 => ^$
openstack server show renamed -f value -c properties => 0 => ^\S*x\W+1\W*$
openstack server lock renamed => 0 => ^$
openstack --os-compute-api-version 2.9 server show renamed -f value -c locked => 0 => ^True$
openstack server stop renamed => 1 => Instance \S+ is locked \(HTTP 409\)
openstack server unlock renamed => 0 => ^$
openstack --os-compute-api-version 2.9 server show renamed -f value -c locked => 0 => ^False$
openstack keypair create key -f value => 0 => BEGIN PRIVATE KEY
openstack keypair list -f value -c Name => 0 => ^key$
openstack keypair show key -f value -c fingerprint => 0 => ^[0-9a-f:]{47}
openstack keypair show --public-key key | openstack keypair create --public-key /dev/stdin key2 -f value -c name => 0 => ^key2$
openstack keypair delete key2 => 0 => ^$
openstack keypair create key => 1 => Conflict\S+ 409: .* Key pair 'key' already exists.
openstack server create --key-name key --flavor 1 --image cirros keyed -f value -c key_name => 0 => ^key$
openstack keypair delete key => 0 => ^$
openstack keypair show key => 1 => No Keypair found for key
openstack server show nothing => 1 => No server with a name or ID of 'nothing' exists.
openstack --os-password wrong server list => 1 => The request you have made requires authentication. \(HTTP 401\) \(Request-ID: req-
openstack server create --flavor nothing --image cirros never => 1 => No flavor with a name or ID of 'nothing' exists.
openstack server create --flavor m1.tiny --image nothing never => 1 => No Image found for nothing
openstack --os-compute-api-version 2.92 server list => 1 => Version 2.92 is not supported by the API. Minimum is 2.1 and maximum is 2.47.
openstack server delete twin-1 twin-2 keyed demo-n => 0 => ^$
openstack server delete --wait renamed => 0 => ^$
openstack server delete demo-w => 0 => ^$
openstack server list -f value => 0 => ^$
nova boot --poll --flavor m1.tiny --image cirros novel => 0 => 100% complete
nova list => 0 => novel .* ACTIVE .* private=10\.
nova show novel => 0 => flavor:original_name\s+\| m1.tiny
nova stop novel => 0 => Request to stop server novel has been accepted.
nova start novel => 0 => Request to start server novel has been accepted.
nova version-list => 0 => v2.1 .* CURRENT .* 2.47
nova flavor-list => 0 => m1.tiny
nova keypair-list => 0 => Fingerprint
nova lock novel => 0 => ^$
nova unlock novel => 0 => ^$
nova delete novel => 0 => Request to delete server novel has been accepted.
nova show novel => 1 => No server with a name or ID of 'novel' exists.
'''


def commands(url):
    env = {**os.environ, **credentials(url), 'PYTHONWARNINGS': 'ignore'}
    for line in COMMANDS.strip().splitlines():
        command, status, pattern = line.split(' => ')
        result = subprocess.run(f'timeout 60 sh -c {shlex.quote(command)}', shell=True,
                                env=env, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
        text = re.sub('^nova CLI is deprecated.*', '', result.stdout).strip()
        good = result.returncode == int(status) and re.search(pattern, text)
        shown = ' / '.join(text.splitlines()[:3] if good else text.splitlines())
        report(command, good, f'{result.returncode} {shown[:110 if good else 2000]}')


# Many at a time -------------------------------------------------------------------------

LOST = (ConnectFailure, RetriableConnectionFailure)


def connect(url):
    return openstack.connect(auth_url=url + '/identity/v3', username='demo',
                             password='secret', project_name='demo',
                             user_domain_name='Default', project_domain_name='Default',
                             region_name='RegionOne', load_envvars=False,
                             load_yaml_config=False)


class Cycles:
    """Each cycle creates a server, finds it in the list once, and deletes it."""

    def __init__(self, url, count):
        self.url, self.left = url, iter(range(count))
        self.lock, self.done, self.lost, self.wrong = threading.Lock(), 0, 0, []

    def run(self):
        threads = [threading.Thread(target=self.work, daemon=True)
                   for _ in range(THREADS)]
        start = time.time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0, start + 300 - time.time()))
        return time.time() - start

    def work(self):
        compute = self.again(lambda: connect(self.url).compute)
        while True:
            with self.lock:
                n = next(self.left, None)
            if n is None:
                return
            try:
                self.cycle(compute, f'cycle-{n}')
                self.done += 1
            except Exception as error:
                self.wrong.append(f'{n}: {error!r}')

    def again(self, ask):
        """Asks until there is an answer: for what may be asked twice."""
        for _ in range(100):
            try:
                return ask()
            except LOST:
                self.lost += 1
                time.sleep(0.1)
        raise TimeoutError('100 lost connections in a row')

    def named(self, compute, name):
        return [s.id for s in self.again(lambda: list(compute.servers())) if s.name == name]

    def cycle(self, compute, name):
        made = None
        while made is None:          # a lost answer: the server is there once, or not
            try:
                made = compute.create_server(name=name, flavor_id='1', image_id=IMAGE,
                                             networks='none').id
            except LOST:
                self.lost += 1
                made = next(iter(self.named(compute, name)), None)
        if self.named(compute, name) != [made]:
            self.wrong.append(f'{name}: made {made}, listed {self.named(compute, name)}')
        got = self.again(lambda: compute.get_server(made))
        if (got.id, got.name) != (made, name):
            self.wrong.append(f'{name}: got {got.id} {got.name}')
        self.again(lambda: compute.delete_server(made))
        if self.named(compute, name):
            self.wrong.append(f'{name}: still listed')


IMAGE = '70a599e0-31e7-49b7-b260-868f441e862b'


def cycles(url, count, what):
    work = Cycles(url, count)
    seconds = work.run()
    left = list(connect(url).compute.servers())
    good = work.done == count and not work.wrong and not left
    report(f'openstacksdk, {THREADS} threads, {count} create/list/get/delete cycles{what}',
           good, f'{work.done} done in {seconds:.1f} s, {work.lost} lost connections, '
           f'{len(left)} left over, wrong: {work.wrong[:3]}')


def children(pid):
    with open(f'/proc/{pid}/task/{pid}/children') as file:
        return [int(child) for child in file.read().split()]


@contextmanager
def killing(process):
    """Kills one worker after another, whatever it is doing."""
    over, killed = threading.Event(), []

    def kill():
        while not over.wait(random.uniform(0.5, 1.5)):
            worker = random.choice(children(process.pid) or [None])
            if worker:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
    thread = threading.Thread(target=kill)
    thread.start()
    yield killed
    over.set()
    thread.join()


def main():
    for workers in ('1', '2'):
        print(f'\n-- {workers} worker(s)', flush=True)
        with nova_api('--workers', workers) as (process, url):
            commands(url)
            cycles(url, CYCLES, '')
            with killing(process) as killed:
                cycles(url, max(CYCLES, 200), ', a worker killed about every second')
            report('killed workers', len(killed) > 0, str(len(killed)))
    print(f'\n{len(failures)} failed: {failures}')
    return 1 if failures else 0


sys.exit(main())
