"""Python Routes on one table: JSON on stdin, its figures as JSON on stdout."""
import json
import statistics
import sys
import time

from routes import Mapper

job = json.load(sys.stdin)
requests = job['requests']
paths = ''.join(request['path'] for request in requests).encode('latin-1')
ends = [0]
for request in requests:
    ends.append(ends[-1] + len(request['path']))
environs = [{'REQUEST_METHOD': request['method']} for request in requests]


def build():
    mapper = Mapper(explicit=True)
    mapper.minimization = False
    for route in job['routes']:
        mapper.connect(route['template'], controller=str(route['handler']['id']),
                       conditions={'method': [route['method']]})
    mapper.match('/none/of/them', environs[0])
    return mapper


def timed(find, start, count):
    """Seconds for `count` look-ups, each of a new string."""
    before = time.perf_counter()
    for i in range(start, start + count):
        i %= len(environs)
        find(paths[ends[i]:ends[i + 1]].decode('latin-1'), environs[i])
    return time.perf_counter() - before


def per_lookup(find):
    count = 1
    while timed(find, 0, count) < job['seconds'] / 10:
        count *= 2
    return statistics.median(
        timed(find, n * count, count) / count for n in range(5))


before = time.perf_counter()
mapper = build()
built = time.perf_counter() - before

wrong = None
for i in range(0, len(requests), max(1, len(requests) // 200)):
    request = requests[i]
    expected = dict(request['params'], controller=str(request['handler']['id']))
    if mapper.match(request['path'], environs[i]) != expected:
        wrong = '%s %s' % (request['method'], request['path'])

time_per_lookup = per_lookup(mapper.match) - per_lookup(lambda path, environ: path)
json.dump({'name': 'Python Routes', 'wrong': wrong, 'build': built * 1e3,
           'ns': {'mix': time_per_lookup * 1e9}}, sys.stdout)
