#!/usr/bin/env python3
"""Records what the real Python libraries answer, for run.ts to ask mini-wsgi the same.

    /usr/bin/python3 conformance/record.py      writes routes.json and webstack.json

Needs Routes, WebOb, PasteDeploy, Paste and oslo.middleware (on Debian python3-routes,
python3-webob, python3-pastedeploy, python3-paste, python3-oslo.middleware).

A case is {id, kind, given, asks}: `given` builds something, then each ask is a question
followed by its answer. Givens and questions are written here in the port's spelling
(pathPrefix, not path_prefix), so that run.ts hands them over as they are; the small
interpreters below translate to the libraries' spelling. Answers are never written by
hand. Where mini-wsgi differs on purpose there is no case; `first_registered` below stops
the script when a table would depend on the order that Routes 2.5.1 prefers.
"""
import json
import re
import sys
import tempfile
import types
import warnings
from importlib.metadata import version
from pathlib import Path

import webob
import webob.dec
import webob.exc
from oslo_config import cfg
from oslo_middleware import cors, http_proxy_to_wsgi, request_id, sizelimit
from paste.deploy import loadapp, loadfilter
from paste.urlmap import URLMap
from routes import Mapper
from routes.middleware import RoutesMiddleware
from routes.route import Route
from routes.util import GenerationException, URLGenerator

warnings.simplefilter('ignore')
HERE = Path(__file__).resolve().parent
ERROR = {'$error': True}


class Ambiguous(Exception):
    """The libraries have two answers: choose another question."""


def snake(name):
    return re.sub('(?<=[a-z])[A-Z]', lambda m: '_' + m[0].lower(), name)


def snakes(options):
    return {snake(key): value for key, value in options.items()}


def utf8(text):
    """PATH_INFO and SCRIPT_NAME: Python tunnels bytes as latin-1, the port holds text."""
    return text.encode('latin-1').decode('utf-8')


# ---------------------------------------------------------------- Routes

def even_id(environ, result):
    return int(result['id']) % 2 == 0


def add_user(environ, result):
    result['user'] = 'ada'
    return True


def token(environ, result):
    return environ is not None and environ.get('HTTP_X_TOKEN') == 'open sesame'


def split_month(args):
    """A filter: month='2024-05' becomes year and mon."""
    if args.get('month'):
        args['year'], args['mon'] = args.pop('month').split('-')
    return args


def default_lang(args):
    args.setdefault('lang', 'en')
    return args


FUNCTIONS = {'evenId': even_id, 'addUser': add_user, 'token': token,
             'splitMonth': split_month, 'defaultLang': default_lang}
UNDERSCORED = ('filter', 'static', 'absolute', 'redirectCode')


def route_options(options):
    def value(v):
        if isinstance(v, dict):
            inner = {k: value(x) for k, x in v.items()}
            return FUNCTIONS[v['$fn']] if '$fn' in v else inner
        return v
    out = {}
    for key, v in options.items():
        v = value(v)
        if key in UNDERSCORED:
            key = '_' + key
        if key in ('conditions', 'parentResource'):
            v = snakes(v)
        out[snake(key)] = v
    return out


def build_mapper(options, steps):
    mapper = Mapper(controller_scan=None, register=False, explicit=True)
    for key, value in options.items():
        setattr(mapper, snake(key), value)
    made = {None: mapper}
    for op, *args in steps:
        if op == 'connect':
            name, path, options, on = args
            names = (path,) if name is None else (name, path)
            made[on].connect(*names, **route_options(options))
        elif op == 'submapper':
            made[args[0]] = made[args[2]].submapper(**route_options(args[1]))
        elif op == 'extend':
            mapper.extend([Route(n, p, _explicit=True, **route_options(o))
                           for n, p, o in args[0]], args[1])
        else:
            getattr(mapper, op)(args[0], args[1], **route_options(args[2]))
    mapper.create_regs([])
    return mapper


def first_registered(mapper, url, environ, found):
    """Ours is the documented rule: the first registered route that matches wins."""
    if mapper.prefix:
        url = url[len(mapper.prefix):] or '/'
    for route in mapper.matchlist:
        if route.match(url, environ, mapper.sub_domains, mapper.sub_domains_ignore,
                       mapper.domain_match) is not False:
            if route is not found:
                raise Ambiguous(url, route.routepath, found.routepath)
            return


def braces(path):
    return re.sub(r':\((\w+)\)', r'{\1}', path)


def route_info(route):
    return route and [route.name, braces(route.routepath)]


def call_url(generator, name, args):
    try:
        return generator(*([] if name is None else [name]), **args)
    except GenerationException:
        return None


def ask_mapper(given):
    mapper = build_mapper(*given)

    def match(url, environ=None):
        found = mapper.routematch(url, environ)
        if found is None:
            return None
        first_registered(mapper, url, environ, found[1])
        return [found[0], *route_info(found[1])]

    def generate(name, args):
        if name is None:
            return mapper.generate(**args)
        route = mapper._routenames[name]
        args = dict(route.defaults, **args)
        return mapper.generate(route, **(route.filter(args) if route.filter else args))

    def url(environ, name, args):
        return call_url(URLGenerator(mapper, dict(environ)), name, dict(args))

    def table():
        return [[*route_info(r), sorted((r.conditions or {}).get('method', [])),
                 r.defaults.get('action')] for r in mapper.matchlist]

    def text():
        return str(mapper).split('\n')

    def request(blank, options, urls):
        environ, seen = make_environ(blank), {}
        if options.get('useMethodOverride') is None:
            options = {'useMethodOverride': False}

        def app(environ, start_response):
            seen['match'] = environ['wsgiorg.routing_args'][1]
            seen['route'] = route_info(environ['routes.route'])
            for key in ('SCRIPT_NAME', 'PATH_INFO', 'REQUEST_METHOD'):
                seen[key] = environ[key]
            seen['urls'] = [call_url(environ['routes.url'], name, args)
                            for name, args in urls]
            start_response('200 OK', [('Content-Type', 'text/plain')])
            return [b'']
        first = mapper.routematch(environ['PATH_INFO'], dict(environ))
        if first:
            first_registered(mapper, environ['PATH_INFO'], environ, first[1])
        middleware = RoutesMiddleware(app, mapper, singleton=False, **snakes(options))
        answer = call(middleware, environ)
        return {**seen, 'status': answer['status'],
                'location': answer['headers'].get('location', [None])[0]}
    return {'match': match, 'generate': generate, 'url': url, 'table': table,
            'print': text, 'request': request}


# ---------------------------------------------------------------- WebOb

def make_environ(blank):
    """[url, options]: the options of Request.blank, and `unsized` for a chunked body."""
    url, options = blank
    options = {snake(k) if k != 'POST' else k: v for k, v in options.items()}
    unsized = options.pop('unsized', False)
    if 'json' in options:
        options['json_body'] = options.pop('json')
    if 'body' in options:
        options['body'] = options['body'].encode()
    if 'environ' in options:
        options['environ'] = dict(options['environ'])
    for name in ('headers', 'POST'):
        if isinstance(options.get(name), list):
            options[name] = [tuple(pair) for pair in options[name]]
    environ = webob.Request.blank(url, **options).environ
    if unsized:
        environ.pop('CONTENT_LENGTH', None)
        environ['wsgi.input_terminated'] = True
    return environ


def header_map(headers):
    """Names in lower case, values in order; Content-Length is told by `length`."""
    out = {}
    for name, value in headers:
        name = name.lower()
        if name == 'set-cookie':
            value = cookie_text(value)
        elif name in ('vary', 'allow') or name.startswith('access-control-'):
            value = re.sub(r'\s*,\s*', ', ', value)
        out.setdefault(name, []).append(value)
    out.pop('content-length', None)
    return dict(sorted(out.items()))


def cookie_text(value):
    """In lower case and sorted; Expires left out: Max-Age says the same."""
    parts = [part.strip() for part in value.lower().split(';')]
    return '; '.join(sorted(part for part in parts if not part.startswith('expires=')))


def squeeze(text):
    return ' '.join(text.split())


def body_value(headers, body):
    """JSON as data (spacing differs), error pages and texts with their space squeezed."""
    if 'json' in headers.get('content-type', [''])[0] and body:
        data = json.loads(body)
        if isinstance(data, dict) and isinstance(data.get('message'), str):
            markup = r'<br\s*/?>|<!--.*?-->|</?a\b[^>]*>'      # ours is plain text
            data['message'] = squeeze(re.sub(markup, '', data['message']))
        return data
    return squeeze(body.decode())


def call(app, environ):
    """One request: {status, headers, length, body}."""
    got = {}

    def start_response(status, headers, exc_info=None):
        got.update(status=status, headers=list(headers))
        return lambda chunk: None
    chunks = app(environ, start_response)
    body = b''.join(chunks)
    if hasattr(chunks, 'close'):
        chunks.close()
    lengths = [v for k, v in got['headers'] if k.lower() == 'content-length']
    headers = header_map(got['headers'])
    return {'status': got['status'], 'headers': headers,
            'length': 'right' if lengths == [str(len(body))] else lengths,
            'body': body_value(headers, body)}


def ask_request(given):
    request = webob.Request(make_environ(given))

    def get(name):
        return getattr(request, snake(name) if name != 'GET' else name)

    def all_values(where, name):
        values = {'GET': 'GET', 'form': 'POST', 'params': 'params'}[where]
        return getattr(request, values).getall(name)

    def upload(name):
        field = request.POST[name]
        return [field.filename, field.type, field.file.read().decode()]

    def accept(offers):
        acceptable = request.accept.acceptable_offers(offers)
        best = acceptable[0][0] if acceptable else None
        if best != request.accept.best_match(offers):
            raise Ambiguous(given, offers)
        return best

    def environ():
        keys = [k for k in request.environ if re.match('[A-Z_]+$', k)]
        out = {k: request.environ[k] for k in [*sorted(keys), 'wsgi.url_scheme']}
        return {k: utf8(v) if k in ('PATH_INFO', 'SCRIPT_NAME') else v
                for k, v in out.items()}

    def place():
        names = ('path', 'pathInfo', 'scriptName', 'url', 'pathUrl', 'hostUrl',
                 'applicationUrl', 'method')
        return {name: get(name) for name in names}

    def pop():
        return [request.path_info_pop(), request.script_name, request.path_info]

    return {'get': get, 'all': all_values, 'upload': upload, 'accept': accept,
            'environ': environ, 'place': place, 'pop': pop,
            'peek': lambda: request.path_info_peek(),
            'from': lambda where, name: getattr(request, where).get(name),
            'text': lambda: request.text, 'json': lambda: request.json}


def response_options(options):
    out = {}
    for key, value in options.items():
        key = {'json': 'json_body'}.get(key, snake(key))
        if key == 'headerlist':
            value = [tuple(pair) for pair in value]
        elif key == 'app_iter':
            value = [chunk.encode() for chunk in value]
        out[key] = value
    return out


def ask_response(given):
    text, options = given
    texts = [] if text is None else [text]
    response = webob.Response(*texts, **response_options(options))

    def state():
        names = ('status', 'statusCode', 'contentType', 'contentLength')
        return [header_map(response.headerlist),
                *[getattr(response, snake(name)) for name in names]]

    def set_property(name, value):
        if name == 'body':
            name = 'text'
        for key, value in response_options({name: value}).items():
            setattr(response, key, value)

    def call_method(name, *args):
        *args, options = args
        rename = {'maxAge': 'max_age', 'httpOnly': 'httponly', 'sameSite': 'samesite'}
        options = {rename.get(k, k): v for k, v in options.items()}
        getattr(response, snake(name))(*args, **options)

    def headers(name, *args):
        if name == 'set':
            response.headers[args[0]] = args[1]
        elif name == 'delete':
            response.headers.pop(args[0], None)
        else:
            names = {'getAll': 'getall', 'append': 'add'}
            return getattr(response.headers, names.get(name, name))(*args)

    return {'get': lambda name: getattr(response, snake(name)), 'set': set_property,
            'state': state, 'headers': headers, 'call': call_method,
            'text': lambda: response.text,
            'wire': lambda blank: call(response, make_environ(blank))}


def ask_error(given):
    name, options = given
    options = snakes(options)
    if 'headers' in options:
        options['headers'] = [tuple(pair) for pair in options['headers']]
    after = {k: options.pop(k) for k in ('body', 'text', 'content_type') if k in options}
    error = getattr(webob.exc, name)(**options)
    for key, value in after.items():
        setattr(error, 'text' if key == 'body' else key, value)

    def about():
        names = ['HTTPOk', 'HTTPRedirection', 'HTTPError', 'HTTPClientError',
                 'HTTPServerError']
        return [error.code, error.title, squeeze(error.explanation),
                bool(error.empty_body),
                [name for name in names if isinstance(error, getattr(webob.exc, name))]]
    return {'wire': lambda blank: call(error, make_environ(blank)), 'about': about}


def echo(label):
    """An application that answers where it stands."""
    def app(environ, start_response):
        start_response('200 OK', [('Content-Type', 'application/json')])
        place = [label, utf8(environ['SCRIPT_NAME']), utf8(environ['PATH_INFO'])]
        return [json.dumps([*place, *environ.get('test.trail', [])]).encode()]
    return app


# ---------------------------------------------------------------- Paste

def ask_urlmap(given):
    urlmap = URLMap(echo('nothing here'))
    for key, label in given:
        urlmap[key] = echo(label)
    return {'call': lambda blank: call(urlmap, make_environ(blank))['body']}


def ask_config(files):
    log, loaded = [], {}
    place = tempfile.TemporaryDirectory()
    for name, text in files.items():
        path = Path(place.name, name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def note(kind, name, global_conf, local_conf):
        text = json.dumps([kind, name, dict(sorted(global_conf.items())),
                           dict(sorted(local_conf.items()))])
        log.append(json.loads(text.replace(place.name, '<HERE>')))

    def wrapper(name, inner):
        def app(environ, start_response):
            environ.setdefault('test.trail', []).append(name)
            return inner(environ, start_response)
        return app

    def app_factory(name):
        def factory(global_conf, **local_conf):
            note('app', name, global_conf, local_conf)
            return echo(local_conf.get('label', name))
        return factory

    def filter_factory(name):
        def factory(global_conf, **local_conf):
            note('filter', name, global_conf, local_conf)
            return lambda app: wrapper(local_conf.get('label', name), app)
        return factory

    def filterapp_factory(name):
        def factory(app, global_conf, **local_conf):
            note('filterapp', name, global_conf, local_conf)
            return wrapper(local_conf.get('label', name), app)
        return factory

    def composite_factory(name):
        def factory(loader, global_conf, **local_conf):
            note('composite', name, global_conf, local_conf)
            names = local_conf.get('filters', '').split()
            filters = [loader.get_filter(n) for n in names]
            app = loader.get_app(local_conf['app'], global_conf=global_conf)
            for each in reversed(filters):
                app = each(app)
            return app
        return factory

    makers = {'app': app_factory, 'filter': filter_factory,
              'filterapp': filterapp_factory, 'composite': composite_factory}
    lab = types.ModuleType('lab')
    lab.__getattr__ = lambda name: makers[name.split('_')[0]](name)

    def load(uri, options, function=loadapp):
        log.clear()
        sys.modules['lab'] = lab
        uri = uri.replace('<HERE>', place.name)
        loaded['app'] = function(uri, relative_to=place.name, **snakes(options))
        if function is loadfilter:
            loaded['app'] = loaded['app'](echo('inner'))
        return list(log)

    def call_loaded(blank):
        return call(loaded['app'], make_environ(blank))['body']
    return {'load': load, 'call': call_loaded,
            'loadFilter': lambda uri, options: load(uri, options, loadfilter)}


# ---------------------------------------------------------------- oslo.middleware

FILTERS = {'RequestBodySizeLimiter': sizelimit.RequestBodySizeLimiter,
           'RequestId': request_id.RequestId, 'CORS': cors.CORS,
           'HTTPProxyToWSGI': http_proxy_to_wsgi.HTTPProxyToWSGI}
UUID = re.compile('req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')


def ask_filter(given):
    name, conf, inner = given

    def app(req):
        if inner.get('read'):
            return str(len(req.body))
        if 'echo' in inner:
            seen = {key: req.environ.get(key) for key in inner['echo']}
            return webob.Response(json=seen)
        headers = [tuple(pair) for pair in inner.get('headers', [])]
        response = webob.Response(body=inner.get('body', 'ok').encode(),
                                  headerlist=headers, status=inner.get('status', 200))
        return response

    def call_filter(blank):
        cfg.CONF = cfg.ConfigOpts()       # oslo keeps a filter's options process-wide
        filtered = FILTERS[name].factory({}, **conf)(webob.dec.wsgify(app))
        answer = json.dumps(call(filtered, make_environ(blank)))
        return json.loads(UUID.sub('req-UUID', answer))
    return {'call': call_filter}


KINDS = {'mapper': ask_mapper, 'request': ask_request, 'response': ask_response,
         'error': ask_error, 'urlmap': ask_urlmap, 'config': ask_config,
         'filter': ask_filter}
CASES = {'routes': [], 'webstack': []}


class Fails(list):
    """A question whose answer is an error."""


def case(name, kind, given, *questions):
    """Ask the library, note its answers."""
    book = CASES['routes' if kind == 'mapper' else 'webstack']
    ident = f'{kind}/{name}'
    assert ident not in [c['id'] for c in book], ident
    given_text = json.dumps(given)
    asks, answers, broken = [], None, None
    try:
        answers = KINDS[kind](json.loads(given_text))
    except Exception as error:
        broken = error
    for question in flat(questions):
        try:
            if broken:
                raise broken
            op, *args = json.loads(json.dumps(question))
            answer = answers[op](*args)
        except Exception as error:
            if not isinstance(question, Fails) or isinstance(error, Ambiguous):
                raise
            answer = ERROR
        else:
            assert not isinstance(question, Fails), (ident, question, answer)
        asks.append([*question, json.loads(json.dumps(answer, sort_keys=True))])
    given = json.loads(given_text)
    book.append({'id': ident, 'kind': kind, 'given': given, 'asks': asks})


def flat(questions):
    for each in questions:
        if each and isinstance(each[0], str):
            yield each
        else:
            yield from flat(each)


def write(name, packages):
    recorded = ', '.join(f'{p} {version(p)}' for p in packages)
    lines = [json.dumps(each, ensure_ascii=False, separators=(',', ':'))
             for each in CASES[name]]
    text = '{"recorded":"%s","cases":[\n%s\n]}\n' % (recorded, ',\n'.join(lines))
    assert str(HERE) not in text and tempfile.gettempdir() not in text
    (HERE / f'{name}.json').write_text(text)
    print(name, len(lines), 'cases', sum(len(c['asks']) for c in CASES[name]), 'checks',
          len(text), 'bytes')


# =========================================================== the cases: Routes

def connect(*names, on=None, **options):
    name, path = names if len(names) == 2 else (None, names[0])
    return ['connect', name, path, options, on]


def match(*urls, **environ):
    """match('/a', '/b', REQUEST_METHOD='GET')"""
    return [['match', url, environ] if environ else ['match', url] for url in urls]


def generate(*name, **args):
    return ['generate', name[0] if name else None, args]


def url(environ, *name, **args):
    return ['url', environ, name[0] if name else None, args]


def table(name, steps, *questions, **options):
    case(name, 'mapper', [options, steps], *questions)


def get(path, **options):
    return [path, options]


TABLE, PRINT = ['table'], ['print']

# ---- recognition: paths

table('literals', [
    connect('home', '/', controller='home'),
    connect('books', '/books', controller='books', action='index'),
    connect('new', '/books/new', controller='books', action='new'),
    connect('dotted', '/robots.txt', controller='robots'),
    connect('odd', '/a+b(c)?d|e', controller='odd'),
    connect('accent', '/livres/été', controller='fr'),
], match('/', '/books', '/books/', '/books/new', '/Books', 'books', '', '//',
         '/robots.txt', '/robotsxtxt', '/a+b(c)?d|e', '/aab', '/livres/été',
         '/livres/%C3%A9t%C3%A9', '/books/new/', '/books//new'), TABLE, PRINT)

table('variables', [
    connect('book', '/books/{id}', controller='books', action='show'),
    connect('chapter', '/books/{id}/chapters/{n}', controller='chapters', action='show'),
    connect('any', '/{controller_name}/{action}', controller='any'),
], match('/books/7', '/books/moby-dick', '/books/7/', '/books/', '/books/7/chapters/1',
         '/books/a.b', '/books/%20', '/books/7/chapters', '/books/x y', '/books/é',
         '/books/7/chapters/1/2', '/films/list', '/films', '/books/{id}'), PRINT)

table('mixed', [
    connect('/map/{lat},{lon}', action='point'),
    connect('/log/{y}-{m}-{d}', action='day'),
    connect('/v{major}.{minor}/spec', action='spec'),
    connect('/pic/{name}.{ext}', action='pic'),
    connect('/pre{x}post', action='glued'),
], match('/map/1,2', '/map/1,2,3', '/map/,2', '/log/2024-05-06', '/log/2024-05',
         '/log/2024-05-06-07', '/v2.1/spec', '/v2.1.3/spec', '/v.1/spec', '/pic/a.png',
         '/pic/a.b.png', '/pic/.png', '/prexpost', '/prepost', '/prepostpost',
         '/log/a--b', '/map/a/b,c'))

table('dot format', [
    connect('list', '/songs{.format}', action='index'),
    connect('song', '/songs/{id}{.format}', action='show'),
    connect('typed', '/albums/{id}{.ext:json|yaml}', action='album'),
    connect('fixed', '/charts{.format}', action='charts', format='html'),
], match('/songs', '/songs.json', '/songs.', '/songs.tar.gz', '/songs/9', '/songs/9.json',
         '/songs/9.1.json', '/songs/.json', '/songs/9.', '/albums/3', '/albums/3.json',
         '/albums/3.xml', '/albums/3.yaml', '/charts', '/charts.csv', '/songs/9.j/x'),
    generate(action='index'), generate(action='index', format='json'),
    generate(action='show', id=9), generate(action='show', id=9, format='json'),
    generate(action='show', id='9.1', format=None), generate('list', format=''),
    generate(action='album', id=3, ext='yaml'), generate(action='album', id=3, ext='xml'),
    generate(action='album', id=3), generate('fixed'))

table('requirements', [
    connect('year', '/y/{year:[0-9]+}', action='year'),
    connect('hex', r'/h/{h:[0-9a-f]+}', action='hex'),
    connect('digits', r'/d/{d:\d+}', action='digits'),
    connect('words', '/w/{w}', action='words', requirements={'w': '[a-z]+(-[a-z]+)*'}),
    connect('both', '/b/{b:[0-9]+}', action='both', requirements={'b': '[a-z]+'}),
    connect('state', '/s/{state:open|closed}', action='state'),
    connect('part', '/p/{n:[0-9]+}{unit:(kg|g)}', action='part'),
    connect('rest', '/f/{path:.*}', action='file'),
    connect('deep', '/g/{path:.+?}/raw', action='raw'),
    connect('counted', r'/c/{c:[0-9]\{2\}}', action='counted'),
], match('/y/2024', '/y/20x4', '/y/', '/h/dead', '/h/DEAD', '/d/5', '/d/five', '/w/a-b-c',
         '/w/a--b', '/w/-a', '/b/7', '/b/x', '/s/open', '/s/closed', '/s/ope',
         '/s/opened', '/p/7kg', '/p/7g', '/p/kg', '/f/', '/f/a/b.c', '/f', '/g/a/b/raw',
         '/g/raw', '/g//raw', '/g/a/raw/raw', '/c/42', '/c/4', '/c/421'),
    generate('year', year=2024), generate('year', year='x'), generate('hex', h='beef'),
    generate('words', w='a-b'), generate('words', w='A'), generate('both', b=7),
    generate('both', b='x'), generate('state', state='open'),
    generate('state', state='x'), generate('rest', path='a/b c'),
    generate('rest', path=''), generate('deep', path='a/b'), generate('counted', c=42),
    generate('counted', c=4), generate('part', n=3, unit='kg'))

table('escapes', [
    connect('colon', r'/time\:{t}', action='time'),
    connect('star', r'/all/\*', action='star'),
    connect('brace', r'/lit/\{x\}/{y}', action='brace'),
    connect('slash', r'/back\\{z}', action='back'),
], match('/time:now', '/time:', '/all/*', '/all/x', '/lit/{x}/1', '/lit/a/1', '/back\\q'),
    generate('colon', t='5'), generate('brace', y='1'), generate('star'))

table('old spellings', [
    connect('colon', '/old/:section/:page', action='colon'),
    connect('paren', '/par/:(a)x:(b)', action='paren'),
    connect('star', '/wild/*rest', action='star'),
    connect('middle', '/mid/*rest/end', action='middle'),
    connect('dot', '/dot/:name.:(ext)', action='dot'),
    connect('limited', '/lim/:n', action='limited', requirements={'n': '[0-9]+'}),
], match('/old/a/b', '/old/a', '/old/a/b/c', '/par/1x2', '/par/x', '/wild/a/b', '/wild/',
         '/mid/a/b/end', '/mid/end', '/dot/a.b', '/dot/a.b.c', '/dot/a', '/lim/5',
         '/lim/x'),
    generate('colon', section='a', page='b'), generate('paren', a=1, b=2),
    generate('star', rest='a/b'), generate('middle', rest='a'),
    generate('dot', name='n', ext='e'), generate('limited', n='5'),
    generate('limited', n='x'))

table('no leading slash', [
    connect('bare', 'shop/{item}', action='item'),
    connect('slash', '/shop/{item}/', action='slashed'),
], match('/shop/tea', 'shop/tea', '/shop/tea/', '/shop/tea/x'),
    generate('bare', item='tea'), generate('slash', item='tea'))

table('order', [
    connect('first', '/{kind}/{id:[0-9]+}', action='first'),
    connect('second', '/{kind}/{name}', action='second'),
    connect('third', '/{a}/{b}', action='third', conditions={'method': ['PUT']}),
    connect('last', '/{all:.*}', action='last'),
], match('/x/1', '/x/y', '/x/y/z', '/', '/x'), match('/x/y', REQUEST_METHOD='PUT'), TABLE)

table('tails', [
    connect('/{a}{b}', action='two'),
    connect('/t/{x}{y:[0-9]+}', action='tail'),
    connect('/t/{x}/{y:[0-9]*}', action='empty'),
    connect('/u/{tag:[a-z]*}{.format}', action='tag', tag='none'),
], match('/ab', '/abc', '/a', '/t/ab12', '/t/12', '/t/ab/', '/t/ab/3', '/u/', '/u/x',
         '/u/x.json', '/u/.json'))

# ---- recognition: defaults and conditions

table('defaults', [
    connect('plain', '/plain'),
    connect('shelf', '/shelf/{n}', controller='shelf', action='show', n='1', page=2,
            lang=None),
    connect('empty', '/e/{q:[a-z]*}', q='all', mode=''),
], match('/plain', '/shelf/9', '/e/', '/e/x'), TABLE)

table('methods', [
    connect('list', '/boats', action='index', conditions={'method': ['GET', 'HEAD']}),
    connect('make', '/boats', action='create', conditions={'method': ['POST']}),
    connect('one', '/boats/{id}', action='show', conditions={'method': 'GET'}),
    connect('any', '/boats/{id}', action='other'),
    connect('none', '/nothing', action='none', conditions={'method': []}),
], match('/boats', '/boats/1', '/nothing'),
    *[match('/boats', '/boats/1', '/nothing', REQUEST_METHOD=method)
      for method in ('GET', 'HEAD', 'POST', 'PUT', 'get', 'OPTIONS')], PRINT)

table('functions', [
    connect('even', '/n/{id:[0-9]+}', action='even',
            conditions={'function': {'$fn': 'evenId'}}),
    connect('odd', '/n/{id:[0-9]+}', action='odd'),
    connect('user', '/me', action='me', conditions={'function': {'$fn': 'addUser'}}),
    connect('vault', '/vault', action='open',
            conditions={'function': {'$fn': 'token'}, 'method': ['GET']}),
], match('/n/4', '/n/5', '/n/x', '/me', '/vault'),
    match('/vault', REQUEST_METHOD='GET', HTTP_X_TOKEN='open sesame'),
    match('/vault', REQUEST_METHOD='POST', HTTP_X_TOKEN='open sesame'),
    match('/vault', '/me', REQUEST_METHOD='GET'))

DOMAINS = [
    connect('admin', '/', action='admin', conditions={'subDomain': ['admin', 'root']}),
    connect('any', '/', action='tenant', conditions={'subDomain': True}),
    connect('bare', '/', action='bare', conditions={'subDomain': False}),
    connect('help', '/help', action='help'),
]
HOSTS = ['example.com', 'admin.example.com', 'root.example.com:8080', 'www.example.com',
         'blue.example.com', 'a.b.example.com', 'localhost']
table('sub-domains', DOMAINS,
      *[match('/', '/help', HTTP_HOST=host, REQUEST_METHOD='GET') for host in HOSTS],
      match('/', '/help'), subDomains=True, subDomainsIgnore=['www'])
table('sub-domains of another depth', DOMAINS,
      *[match('/', HTTP_HOST=host, REQUEST_METHOD='GET') for host in
        ('shop.co.example', 'admin.shop.co.example', 'x.y.shop.co.example',
         'example.com')],
      subDomains=True, domainMatch=r'[^\.\/]+?\.[^\.\/]+?\.[^\.\/]+')
table('sub-domains off', DOMAINS[3:], match('/help', HTTP_HOST='admin.example.com'))

table('prefix', [
    connect('home', '/', action='home'),
    connect('page', '/p/{n}', action='page', conditions={'method': ['GET']}),
], match('/site/p/1', '/p/1', '/site', '/site/', '/sites', '/site/p/1/', '/sit'),
    generate('home'), generate('page', n=1), generate(action='page', n=1), prefix='/site')

# ---- generation

LIBRARY = [
    connect('home', '/', controller='main', action='home'),
    connect('books', '/books', controller='books', action='index',
            conditions={'method': ['GET']}),
    connect('add', '/books', controller='books', action='create',
            conditions={'method': ['POST']}),
    connect('book', '/books/{id}', controller='books', action='show'),
    connect('page', '/books/{id}/page/{page}', controller='books', action='page'),
    connect('search', '/search/{kind}{.format}', controller='search', action='run'),
    connect(None, '/{controller_name}/by/{author}', action='by'),
    connect('lent', '/lent', controller='books', action='lent', state='out'),
]
table('generate by variables', LIBRARY,
      generate(controller='main', action='home'),
      generate(controller='books', action='index'),
      generate(controller='books', action='create'),
      generate(controller='books', action='create', method='POST'),
      generate(controller='books', action='create', method='GET'),
      generate(controller='books', action='index', method='get'),
      generate(controller='books', action='show', id=7),
      generate(controller='books', action='show', id='a b/c?d'),
      generate(controller='books', action='show', id=None),
      generate(controller='books', action='show'),
      generate(controller='books', action='page', id=7, page=2),
      generate(controller='books', action='page', id=7),
      generate(controller='films', action='show', id=7),
      generate(controller='search', action='run', kind='new'),
      generate(controller='search', action='run', kind='new', format='json'),
      generate(controller='search', action='run', kind='new', format='json', q='x'),
      generate(action='by', controller_name='films', author='Lumière'),
      generate(controller='books', action='lent'),
      generate(controller='books', action='lent', state='out'),
      generate(controller='books', action='lent', state='in'),
      generate(controller='books', action='lent', state='out', page=2),
      generate(controller='books', action='show', id=''),
      generate(controller='books', action='show', id=0), generate(), generate(id=1),
      PRINT)

table('generate by name', LIBRARY,
      generate('home'), generate('book', id=7), generate('book'),
      generate('book', id=None), generate('page', id=7, page=1, size=10),
      generate('page', id=7), generate('search', kind='a', format='b'), generate('lent'),
      generate('lent', state='in'), generate('book', id='x', action='other'),
      generate('home', controller='other'), generate('add', method='POST'),
      generate('add', method='GET'), generate('add'))

table('generate: the query', [
    connect('q', '/q/{word}', controller='q', action='run'),
], generate('q', word='w', a=1, b='x y'), generate('q', word='w', a=['1', '2'], b=[]),
    generate('q', word='w', z='1', y='2', x='3'),
    generate('q', word='w', **{'a b': 'c&d=e'}), generate('q', word='w', t="~!'()*-._"),
    generate('q', word='w', t='é/€'), generate('q', word='w', t=''),
    generate(controller='q', action='run', word='w', page=3),
    generate('q', word='w', plus='1+1', at='a@b:c', hash='#'),
    generate('q', word='w', emoji='📚'))

table('generate: quoting', [
    connect('p', '/p/{x}', action='p'), connect('r', '/r/{x:.*}', action='r'),
    connect('d', '/d/{x}{.format}', action='d'),
], *[generate('p', x=x) for x in ("a b", "a/b", "~!'()*", "%20", "é", "a+b", "a&b=c;d,e",
                                  "#?",
                                   "a:b@c", '"<>"', "\\", "📚", "[]{}|^`")],
    generate('r', x='a/b/../c'), generate('d', x='a.b', format='t.x'),
    generate('d', x='', format='j'))

table('generate: which route', [
    connect(None, '/a/{x}', action='go'),
    connect(None, '/a/{x}/{y}', action='go'),
    connect(None, '/a/{x}/{y}/{z}', action='go'),
    connect(None, '/fixed', action='go', kind='fixed'),
    connect(None, '/late/{x}', action='go'),
    connect(None, '/{action}/{x}'),
], generate(action='go', x=1), generate(action='go', x=1, y=2),
    generate(action='go', x=1, y=2, z=3), generate(action='go', x=1, z=3),
    generate(action='go', y=2), generate(action='go'),
    generate(action='go', kind='fixed'), generate(action='go', kind='other', x=1),
    generate(action='stay', x=1), generate(action='stay', x=1, w=2), generate(x=1))

table('generate: same name twice', [
    connect('twin', '/one/{x}', action='one'), connect('twin', '/two/{x}', action='two'),
], generate('twin', x=1), generate(action='one', x=1), match('/one/1', '/two/1'), TABLE)

table('filters', [
    connect('archive', '/archive/{year}/{mon}', action='archive',
            filter={'$fn': 'splitMonth'}),
    connect('page', '/{lang}/page/{n}', action='page', filter={'$fn': 'defaultLang'}),
], generate('archive', month='2024-05'), generate('archive', year=2024, mon=5),
    generate('archive'), generate('archive', month='2024-05', q='x'),
    generate('page', n=3), generate('page', n=3, lang='fr'),
    match('/en/page/3', '/archive/1/2'))

table('append slash', [
    connect('list', '/list', action='list'), connect('one', '/list/{id}', action='one'),
    connect('done', '/done/', action='done'),
], generate('list'), generate('one', id=3), generate('done'),
    generate('one', id=3, q='x'), generate(action='done', a='b'), appendSlash=True)

# ---- URLGenerator

WEB = {'HTTP_HOST': 'library.example.com:8080', 'SCRIPT_NAME': '/lib',
       'wsgi.url_scheme': 'http'}
TLS = {'HTTP_HOST': 'library.example.com', 'SCRIPT_NAME': '', 'wsgi.url_scheme': 'https'}
NAKED = {'SERVER_NAME': '10.0.0.5', 'SERVER_PORT': '8081', 'wsgi.url_scheme': 'http'}
NAKED80 = {**NAKED, 'SERVER_PORT': '80'}
NAKED443 = {**NAKED, 'SERVER_PORT': '443', 'wsgi.url_scheme': 'https'}
table('urls', LIBRARY + [
    connect('cdn', 'https://cdn.example.net/{file}', static=True),
    connect('css', '/static/{file}', static=True),
    connect('abs', '/absolute/{x}', absolute=True, action='abs'),
    connect('lib', 'js/{file}', static=True),
], [url(e, 'book', id=7) for e in (WEB, TLS, NAKED)],
    [url(e, 'book', id=7, qualified=True) for e in (
        WEB, TLS, NAKED, NAKED80, NAKED443)],
    [url(e, 'book', id=7, protocol='https') for e in (WEB, TLS, NAKED)],
    [url(e, 'book', id=7, host='other.example.org') for e in (WEB, TLS)],
    url(WEB, 'book', id=7, host='other.example.org:99', protocol='ftp'),
    url(WEB, 'book', id=7, protocol=''),
    url(WEB, 'book', id=7, protocol='', qualified=True),
    url(WEB, 'book', id=7, protocol='https', qualified=True),
    url(WEB, 'book', id=7, anchor='top'), url(WEB, 'book', id=7, anchor='a b/c&d'),
    url(WEB, 'book', id=7, anchor='x', q='y', qualified=True),
    url(WEB, 'book', id=7, host_='h'), url(WEB, 'book', id=7, anchor_='a'),
    url(WEB, 'book', id=7, method='GET'), url(WEB, 'home'),
    url(TLS, 'home', qualified=True), url(WEB, 'home', qualified=True), url(WEB, 'book'),
    url(WEB, 'page', id=1), url(WEB, 'add', method='DELETE'),
    url(WEB, controller='books', action='show', id=7),
    url(WEB, controller='books', action='nope'),
    url(WEB, controller='main', action='home', x='1'),
    url(WEB, controller='books', action='show', id=7, qualified=True),
    url(WEB, 'cdn', file='a b.js'), url(WEB, 'cdn', file='x', v='2'), url(WEB, 'cdn'),
    url(WEB, 'css', file='a.css'), url(WEB, 'css', file='a.css', qualified=True),
    url(WEB, 'abs', x='1'), url(WEB, 'abs', x='1', qualified=True),
    url(TLS, 'lib', file='z'), url(WEB, '/raw'), url(WEB, '/raw', a='x y', b='é/z'),
    url(TLS, '/raw', a='1'), url(WEB, 'relative/raw', a=['1', '2']),
    url(WEB, 'http://elsewhere.example/x', q='a+b'), url(WEB, '/raw', qualified=True),
    url(WEB, '/raw', anchor='here'), url(WEB, '/raw', host='h.example', a='1'),
    match('/static/a.css', '/absolute/1', '/js/z'), TABLE)

CITY = [
    connect('city', '/city/{id}', action='city'),
    connect('office', '/office', action='office', conditions={'subDomain': True}),
]
AT = {'SCRIPT_NAME': '', 'wsgi.url_scheme': 'http'}
table('urls across sub-domains', CITY,
      [url({**AT, 'HTTP_HOST': host}, 'city', id=1) for host in
       ('example.com', 'north.example.com', 'www.example.com')],
      [url({**AT, 'HTTP_HOST': host}, 'city', id=1, sub_domain='south') for host in
       ('example.com', 'north.example.com:81', 'south.example.com', 'www.example.com')],
      url({**AT, 'HTTP_HOST': 'north.example.com'}, 'city', id=1, sub_domain='www'),
      url({**AT, 'HTTP_HOST': 'example.com'}, action='office', sub_domain='south'),
      url({**AT, 'HTTP_HOST': 'south.example.com'}, action='office', sub_domain='south'),
      subDomains=True, subDomainsIgnore=['www'])

# ---- resource, submapper, extend

MEMBER = ['/boats', '/boats.json', '/boats/new', '/boats/7', '/boats/7.json',
          '/boats/7/edit', '/boats/7/edit.html']
table('resource', [['resource', 'boat', 'boats', {}]], TABLE, PRINT, match(*MEMBER),
      *[match('/boats', '/boats/7', REQUEST_METHOD=method)
        for method in ('GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD')],
      match('/boats/7/', '/boats/a%2Fb', '/boats/1.2.3', '/boats/7/row', 'boats',
            REQUEST_METHOD='GET'),
      generate('boats'), generate('boat', id=7), generate('edit_boat', id=7),
      generate('new_boat'), generate('formatted_boat', id=7, format='json'),
      generate('formatted_boats', format='json'), generate('formatted_boat', id=7),
      generate(controller='boats', action='update', id=7, method='PUT'),
      generate(controller='boats', action='delete', id=7),
      generate(controller='boats', action='create'))

table('resource with more actions', [
    ['resource', 'boat', 'boats', {
        'controller': 'fleet', 'collection': {'sunk': 'GET', 'audit': 'POST',
                                              'report': 'GET'},
        'member': {'launch': 'POST', 'crew': 'GET', 'paint': 'PUT', 'scrap': 'DELETE'},
        'new': {'preview': 'POST', 'draft': 'GET'}}],
], TABLE, match('/boats/sunk', '/boats/audit', '/boats/report.txt', '/boats/7/crew',
                '/boats/new/draft', REQUEST_METHOD='GET'),
    match('/boats/audit', '/boats/7/launch', '/boats/new/preview', REQUEST_METHOD='POST'),
    match('/boats/7/paint', '/boats/7', REQUEST_METHOD='PUT'),
    match('/boats/7/scrap', '/boats/7', REQUEST_METHOD='DELETE'),
    generate('sunk_boats'), generate('launch_boat', id=7), generate('preview_new_boat'),
    generate('formatted_crew_boat', id=7, format='xml'))

table('resource: first of its method', [
    ['resource', 'gate', 'gates', {'collection': {'shut': 'PUT', 'lock': 'PUT'},
                                   'member': {'paint': 'PATCH', 'fix': 'PATCH'}}],
], TABLE, match('/gates', '/gates/lock', '/gates/shut', REQUEST_METHOD='PUT'),
    match('/gates/1', '/gates/1/fix', REQUEST_METHOD='PATCH'))

table('resource in a parent', [
    ['resource', 'sail', 'sails', {'parentResource': {'memberName': 'boat',
                                                      'collectionName': 'boats'}}],
    ['resource', 'mast', 'masts', {'namePrefix': '', 'parentResource': {
        'memberName': 'boat', 'collectionName': 'boats'}}],
    ['resource', 'oar', 'oars', {'pathPrefix': '/dock/{dock_id}', 'parentResource': {
        'memberName': 'boat', 'collectionName': 'boats'}}],
    ['resource', 'flag', 'flags', {'pathPrefix': 'world/', 'namePrefix': 'w_'}],
], TABLE, match('/boats/3/sails', '/boats/3/sails/4', '/sails', '/boats/3/masts/new',
                '/dock/1/oars/2.json', '/world/flags/se', '/worldflags',
                REQUEST_METHOD='GET'),
    generate('boat_sails', boat_id=3), generate('boat_sail', boat_id=3, id=4),
    generate('boat_sail', id=4), generate('mast', boat_id=3, id=1),
    generate('boat_new_oar', dock_id=5), generate('boat_edit_oar', dock_id=5, id=6),
    generate('w_flag', id='se'))

table('resource of one name',
      [['resource', 'fleet', 'fleet', {'member': {'action': 'POST'}}]], TABLE,
      generate('fleet'), generate('fleet', id=3), generate('new_fleet'))

table('resource after a route', [
    connect('top', '/boats/top', controller='boats', action='top'),
    ['resource', 'boat', 'boats', {}],
    connect('late', '/boats/{id}/late', controller='boats', action='late'),
], match('/boats/top', '/boats/7/late', '/boats/new', REQUEST_METHOD='GET'))

table('submapper', [
    ['submapper', 'blog', {'pathPrefix': '/blog', 'namePrefix': 'blog_',
                           'controller': 'blog', 'requirements': {'id': '[0-9]+'}}, None],
    connect('index', '/', action='index', on='blog'),
    connect('post', '/{id}', action='post', on='blog'),
    connect('odd', '/odd/{id}', action='odd', on='blog', controller='special',
            requirements={'slug': '[a-z]+'}),
    connect('/alone', action='alone', on='blog'),
    ['submapper', 'admin', {'pathPrefix': '/admin', 'namePrefix': 'admin_',
                            'conditions': {'method': ['POST']}}, 'blog'],
    connect('purge', '/purge/{id}', action='purge', on='admin'),
    connect('wipe', '/wipe', action='wipe', on='admin',
            conditions={'function': {'$fn': 'addUser'}}),
    connect('outside', '/outside', controller='main'),
], TABLE, PRINT, match('/blog/', '/blog', '/blog/7', '/blog/x', '/blog/odd/7',
                       '/blog/odd/x', '/blog/alone', '/alone', '/outside',
                       '/blog/admin/purge/7'),
    match('/blog/admin/purge/7', '/blog/admin/wipe', '/blog/admin/purge/x',
          REQUEST_METHOD='POST'),
    match('/blog/admin/purge/7', '/blog/admin/wipe', REQUEST_METHOD='GET'),
    generate('blog_index'), generate('blog_post', id=7), generate('blog_post', id='x'),
    generate('blog_admin_purge', id=7), generate('outside'))

table('submapper prefixes', [
    ['submapper', 'a', {'pathPrefix': '/{tenant}'}, None],
    connect('list', '/things', action='list', on='a'),
    ['submapper', 'b', {'pathPrefix': '/v{version:[0-9]+}', 'action': 'versioned'}, 'a'],
    connect('thing', '/things/{id}{.format}', on='b'),
    connect('other', '/other', on='b', action='mine'),
], TABLE, match('/acme/things', '/acme/v2/things/5', '/acme/v2/things/5.json',
                '/acme/vx/things/5', '/acme/v2/other'),
    generate('thing', tenant='acme', version=2, id=5),
    generate('thing', tenant='acme', id=5), generate('list', tenant='a b'))

table('extend', [
    connect('home', '/', action='home'),
    ['extend', [['list', '/list', {'action': 'list', 'conditions': {'method': ['GET']}}],
                [None, '/list/{id:[0-9]+}', {'action': 'one'}]], ''],
    ['extend', [['sub_list', '/list', {'action': 'list'}],
                ['far', '/{a}/{b}', {'action': 'far', 'requirements': {'b': '[0-9]+'}}]],
                '/sub'],
], TABLE, match('/', '/list', '/list/4', '/sub/list', '/sub/x/1', '/sub/x/y'),
    match('/list', REQUEST_METHOD='POST'), generate('sub_list'),
    generate('far', a=1, b=2), generate('far', a=1, b='x'))

# ---- redirect and the middleware


def request(url, options=None, middleware=None, *urls):
    return ['request', [url, options or {}], middleware or {}, list(urls)]


MOVED = [
    ['redirect', '/old', '/new', {}],
    ['redirect', '/old/{id:[0-9]+}', '/new/{id}',
     {'redirectCode': '301 Moved Permanently'}],
    ['redirect', '/archive/{url:.*}', '/store/{url}', {}],
    ['redirect', '/out/{x}', 'https://example.org/{x}', {}],
    ['redirect', '/drop/{a}/{b}', '/keep/{a}', {}],
    ['redirect', '/form', '/done', {'conditions': {'method': ['POST']},
                                    'redirectCode': '303 See Other'}],
    connect('new', '/new', action='new'),
    connect('form', '/form', action='form'),
]
APP = {'baseUrl': 'http://localhost/app'}
table('redirects', MOVED, TABLE, *[request(path, options) for path in (
    '/old', '/old/7', '/old/x', '/archive/a/b', '/archive/', '/out/z', '/drop/1/2',
    '/new', '/form', '/old?q=1') for options in ({}, APP)],
    request('/form', {'method': 'POST'}), match('/old', '/old/7'))

FORM = {'method': 'POST', 'POST': {'_method': 'delete', 'x': '1'}}
table('method override', [
    connect('kill', '/thing/{id}', action='kill', conditions={'method': ['DELETE']}),
    connect('make', '/thing/{id}', action='make', conditions={'method': ['POST']}),
    connect('show', '/thing/{id}', action='show', conditions={'method': ['GET']}),
], *[request(path, options, {'useMethodOverride': on}) for on in (True, False)
     for path, options in (('/thing/1', FORM), ('/thing/1?_method=delete', {}),
                           ('/thing/1?_method=DELETE', {'method': 'POST'}),
                           ('/thing/1?x_method=1', {}),
                           ('/thing/1', {'method': 'DELETE'}), ('/thing/1?_method=', {}),
                           ('/thing/1', {'method': 'PUT'}))],
    request('/thing/1', {'method': 'POST',
                         'headers': {'Content-Type': 'application/json'},
                         'body': '{"_method": "DELETE"}'}, {'useMethodOverride': True}))

table('path_info', [
    connect('wiki', '/wiki/{path_info:.*}', controller='wiki'),
    connect('bare', '/bare{path_info:.*}', controller='bare'),
    connect('old', '/old/*path_info', controller='old', path_info=''),
    connect('user', '/~{user}/{path_info:.*}', controller='user'),
], *[request(path, options, {}, ['wiki', {'path_info': 'x'}], ['none', {}], ['user', {}])
     for options in ({}, APP) for path in
     ('/wiki/', '/wiki/a', '/wiki/a/b/', '/wiki', '/bare', '/old/x/y', '/~ada/src',
      '/nowhere', '/wiki/a%20b')])

# =========================================================== the cases: WebOb's Request

JSON_TYPE = {'Content-Type': 'application/json'}
BLANKS = {
    'plain': get('/books/7?page=2'),
    'root': get('/'),
    'encoded': get('/a%20b/%C3%A9?q=%C3%A9+x'),
    'port': get('http://library.example.com:8080/x'),
    'tls': get('https://library.example.com/x?y'),
    'tls port': get('https://library.example.com:8443/x'),
    'mounted': get('/x?y=1', baseUrl='http://library.example.com/lib'),
    'mounted tls': get('/', baseUrl='https://h.example:444/a b'),
    'head': get('/x', method='HEAD'),
    'form': get('/x', method='POST', POST={'a': '1', 'b': 'x y'}),
    'pairs': get('/x', POST=[['a', '1'], ['a', '2']]),
    'json': get('/x', method='POST', json={'a': 1}, headers=JSON_TYPE),
    'body': get('/x', method='PUT', body='héllo', headers={'Content-Type': 'text/plain'}),
    'headers': get('/x', headers=[['X-One', '1'], ['Accept', 'text/html'],
                                  ['Host', 'h.example']]),
    'environ': get('/x', environ={'REMOTE_ADDR': '10.0.0.9', 'SCRIPT_NAME': '/mnt'}),
    'odd path': get("/~a/b;c=1,d/(e)'!*:@&=+$"),
}
for name, blank in BLANKS.items():
    case(f'blank {name}', 'request', blank, ['environ'], ['place'])
case('blank fragment', 'request', get('http://h.example/x#y'), Fails(['place']))

URLENCODED = {'Content-Type': 'application/x-www-form-urlencoded'}
case('query', 'request', get('/?a=1&b=&a=2&c&d=%2B+%26&%C3%A9=%E2%82%AC&a=3'),
     [['all', 'GET', name] for name in ('a', 'b', 'c', 'd', 'é', 'none')])
case('form', 'request', get('/?a=q&z=9', method='POST', body='a=1&b=x+y&a=2&c=%C3%A9',
                            headers=URLENCODED),
     [['all', 'form', name] for name in ('a', 'b', 'c', 'z', 'none')],
     [['all', 'params', name] for name in ('a', 'b', 'z', 'none')],
     ['get', 'contentLength'])
case('form by put', 'request', get('/', method='PUT', body='a=1',
                                   headers=URLENCODED),
     ['all', 'form', 'a'], ['all', 'params', 'a'])
case('form without a type', 'request', get('/', method='POST', body='a=1'),
     ['all', 'form', 'a'])
case('no form in json', 'request', get('/?a=0', method='POST', json={'a': '1'},
                                        headers=JSON_TYPE),
     ['all', 'form', 'a'], ['all', 'params', 'a'], ['json'], ['text'],
     ['get', 'contentType'])
case('no form in get', 'request', get('/', body='a=1'), ['all', 'form', 'a'], ['text'])
PARTS = '\r\n'.join([
    '--XX', 'Content-Disposition: form-data; name="title"', '', 'Ulysses', '--XX',
    'Content-Disposition: form-data; name="cover"; filename="u é.txt"',
    'Content-Type: text/x-cover', '', 'line one\r\nline two', '--XX',
    'Content-Disposition: form-data; name="title"', '', 'again é', '--XX--', ''])
case('multipart', 'request', get('/', method='POST', body=PARTS, headers={
    'Content-Type': 'multipart/form-data; boundary=XX'}),
    ['all', 'form', 'title'], ['upload', 'cover'], ['get', 'contentType'])
case('body', 'request', get('/', method='POST', body='{"a": ["é", null]}'), ['json'],
     ['text'], ['json'])
case('bad json', 'request', get('/', method='POST', body='{"a": '), Fails(['json']),
     ['text'])
case('no body', 'request', get('/', method='POST'), ['text'], Fails(['json']),
     ['get', 'contentLength'])
case('unsized body', 'request', get('/', method='POST', body='chunks', unsized=True),
     ['text'])

case('headers', 'request',
     get('/', headers=[['X-Thing', ' a '], ['Content-Type', 'text/x; a=b'],
                                             ['accept-language', 'sv']]),
     [['from', 'headers', name] for name in ('X-Thing', 'x-thing', 'Content-Type',
                                    'Accept-Language', 'Content-Length', 'X-None',
                                    'Host')], ['get', 'contentType'])
for text in ('sid=7', 'a=1; b=2; c=3', 'a="quoted value"; b=plain', 'a=1; a=2', 'a=;b',
             'a=x=y=z', '  a = 1 ;b=2', 'caf=%C3%A9', r'a="x\054y"; b="\"q\""',
             'a.b=1; c-d=2; e_f=3', ''):
    case(f'cookie {text}', 'request', get('/', headers=[['Cookie', text]]),
         [['from', 'cookies', name] for name in ('sid', 'a',
                                        'b') if name in text or name == 'sid'],
         [['from', 'cookies', name] for name in ('caf', 'a.b', 'c-d') if name in text])

case('pop', 'request', get('/a/b//c/'), ['peek'], ['pop'], ['peek'], ['pop'], ['pop'],
     ['pop'], ['pop'], ['peek'])
case('pop slashes', 'request', get('//a'), ['peek'], ['pop'], ['pop'])
case('pop mounted', 'request', get('/x y/%C3%A9', baseUrl='http://h.example/m'), ['pop'],
     ['get', 'path'], ['pop'], ['get', 'url'], ['get', 'applicationUrl'])
case('urlvars', 'request', get('/', environ={'wsgiorg.routing_args': [[], {'id': '7'}]}),
     ['get', 'urlvars'])
case('no urlvars', 'request', get('/'), ['get', 'urlvars'])

HTML, JSON, PLAIN, PNG = 'text/html', 'application/json', 'text/plain', 'image/png'
for accepted in (None, '', '*/*', 'text/html', 'application/json', 'text/*',
                 'application/*;q=0.5', 'text/html;q=0.4, application/json',
                 'application/json;q=0.9,*/*;q=0.1', 'text/plain;q=0',
                 'image/png, text/html', 'TEXT/HTML', 'text/html;q=0', 'audio/ogg',
                 'text/html;level=1', 'gibberish'):
    blank = get('/') if accepted is None else get('/', headers=[['Accept', accepted]])
    case(f'accept {accepted}', 'request', blank, ['accept', [HTML, JSON]],
         ['accept', [JSON, HTML]], ['accept', [PLAIN, PNG]])

# =========================================================== the cases: Response

RESPONSES = {
    'empty': [None, {}],
    'text': ['hello', {}],
    'accents': ['héllo €', {}],
    'plain': ['hello', {'contentType': 'text/plain'}],
    'typed': [None, {'contentType': 'image/png'}],
    'json type': [None, {'contentType': 'application/json'}],
    'xml': [None, {'contentType': 'application/xml'}],
    'atom': [None, {'contentType': 'application/atom+xml'}],
    'own charset': ['x', {'contentType': 'text/plain; charset=utf-8'}],
    'json': [None, {'json': {'a': [1, 'b', None]}}],
    'json array': [None, {'json': [], 'status': 201}],
    'typed json': [None, {'json': {'a': 1}, 'contentType': 'application/problem+json'}],
    'status': ['x', {'status': 404}],
    'status text': ['x', {'status': '404 Nothing Here'}],
    'headerlist': [None, {'headerlist': [['X-A', '1'], ['Content-Type', 'text/x-own'],
                                         ['X-A', '2']]}],
    'headers alone': [None, {'headerlist': [['X-A', '1']]}],
    'no content': [None, {'status': 204}],
    'reset': [None, {'status': 205}],
    'not modified': [None, {'status': 304}],
    'continue': [None, {'status': 100}],
    'location': [None, {'status': 302, 'location': '/there'}],
    'iterable': [None, {'appIter': ['one', 'two']}],
    'more headers': [None, {'vary': ['Accept', 'Cookie'], 'allow': ['GET', 'PUT'],
                            'retryAfter': 30}],
}
for name, given in RESPONSES.items():
    case(name, 'response', given, ['state'], *[['wire', get('/', method=method)]
                                           for method in ('GET', 'HEAD')])
case('text without a charset', 'response', ['x', {'contentType': 'image/png'}],
     Fails(['text']))

case('changing', 'response', ['one', {}], ['set', 'status', 201], ['get', 'status'],
     ['set', 'status', '299 Odd'], ['get', 'status'], ['get', 'statusCode'],
     ['set', 'contentType', 'text/plain'], ['headers', 'get', 'Content-Type'],
     ['headers', 'set', 'Content-Type', 'text/plain; charset=UTF-8'],
     ['set', 'body', 'longer é'], ['get', 'contentLength'], ['text'],
     ['set', 'appIter', ['ab', 'cd']], ['get', 'contentLength'], ['text'],
     ['get', 'contentLength'], ['wire', get('/')])
case('content type drops its parameters', 'response',
     [None, {'contentType': 'text/html'}], ['set', 'contentType', 'application/json'],
     ['headers', 'get', 'Content-Type'], ['set', 'contentType', 'text/css'],
     ['headers', 'get', 'Content-Type'],
     ['set', 'contentType', 'text/css; charset=UTF-8; x=y'], ['get', 'contentType'],
     ['headers', 'get', 'Content-Type'], ['set', 'contentType', None],
     ['headers', 'get', 'Content-Type'])
case('headers', 'response', [None, {}], ['headers', 'set', 'X-A', '1'],
     ['headers', 'append', 'x-a', '2'], ['headers', 'append', 'X-B', '3'],
     ['headers', 'getAll', 'X-A'], ['headers', 'get', 'X-B'],
     ['headers', 'set', 'X-A', '4'], ['headers', 'getAll', 'X-A'],
     ['headers', 'delete', 'x-b'], ['headers', 'get', 'X-B'],
     ['headers', 'getAll', 'X-B'], ['headers', 'delete', 'X-None'], ['state'])
case('properties', 'response', [None, {}], ['set', 'location', '/x'],
     ['headers', 'get', 'Location'], ['set', 'location', None],
     ['headers', 'get', 'Location'], ['set', 'contentLength', 9],
     ['headers', 'get', 'Content-Length'], ['set', 'contentLength', None],
     ['headers', 'get', 'Content-Length'])

for i, options in enumerate(({}, {'path': '/app'}, {'path': None},
                             {'domain': 'h.example'}, {'maxAge': 60}, {'maxAge': 0},
                             {'secure': True}, {'httpOnly': True}, {'sameSite': 'Lax'},
                             {'sameSite': 'Strict', 'secure': True, 'httpOnly': True,
                              'maxAge': 3600, 'path': '/a', 'domain': '.h.example'})):
    case(f'cookie {i}', 'response', [None, {}],
         ['call', 'setCookie', 'sid', '7', options], ['state'])
case('cookies', 'response', [None, {}], ['call', 'setCookie', 'a', '1', {}],
     ['call', 'setCookie', 'b', 'x-y_z.!', {}], ['call', 'setCookie', 'a', '2', {}],
     ['call', 'setCookie', 'q', 'two words', {}], ['call', 'setCookie', 'e', '', {}],
     ['call', 'deleteCookie', 'b', {}],
     ['call', 'deleteCookie', 'c', {'path': '/x', 'domain': 'h.example'}],
     ['state'])
case('bad cookie name', 'response', [None, {}],
     Fails(['call', 'setCookie', 'a b', '1', {}]))

MOUNTED = {'baseUrl': 'http://h.example:8080/lib'}
for location in ('/there', 'there', '../up', '?q=1', 'http://other.example/x', '#frag',
                 'a/./b', 'there?x=http://y'):
    case(f'location {location}', 'response',
         [None, {'status': 303, 'location': location}], ['wire', get('/books/7')],
         ['wire', get('/books/', **MOUNTED)], ['headers', 'get', 'Location'])

# =========================================================== the cases: HTTP errors

ERRORS = [name for name in dir(webob.exc) if name.startswith('HTTP') and name not in (
    'HTTPException', 'HTTPExceptionMiddleware', 'HTTPError', 'HTTPRedirection')]
for name in ERRORS:
    case(f'{name}', 'error', [name, {}], ['about'])

ACCEPTS = (None, '', '*/*', 'text/html', 'application/json', 'text/plain', 'image/png',
           'application/json;q=0.9, text/html;q=0.1')
for accepted in ACCEPTS:
    options = {} if accepted is None else {'headers': [['Accept', accepted]]}
    detail = 'a "b" & <b>c</b>' if accepted in ('*/*', 'text/html') else 'a "b" & c'
    case(f'accept {accepted}', 'error', ['HTTPNotFound', {'detail': detail}],
         ['wire', get('/x', **options)])
    case(f'bare {accepted}', 'error', ['HTTPConflict', {}],
         ['wire', get('/x', **options)])
for name, options in {
        'comment': ['HTTPForbidden', {'detail': 'no', 'comment': 'see <log>'}],
        'headers': ['HTTPServiceUnavailable',
                    {'headers': [['Retry-After', '7'], ['X-A', 'b']]}],
        'moved': ['HTTPMovedPermanently', {'location': '/new'}],
        'found': ['HTTPFound', {'location': 'next?a=1&b=2'}],
        'elsewhere': ['HTTPSeeOther', {'location': 'https://other.example/x'}],
        'slash': ['HTTPFound', {'addSlash': True}],
        'choices': ['HTTPMultipleChoices', {'location': '/a', 'detail': 'choose'}],
        'method': ['HTTPMethodNotAllowed', {'headers': [['Allow', 'GET, HEAD']]}],
        'acceptable': ['HTTPNotAcceptable', {}],
        'implemented': ['HTTPNotImplemented', {}],
        'created': ['HTTPCreated', {'detail': 'made'}],
        'no content': ['HTTPNoContent', {}],
        'not modified': ['HTTPNotModified', {}],
        'server': ['HTTPInternalServerError', {'detail': 'oops'}],
        'own body': ['HTTPBadRequest',
                     {'text': 'my own words', 'contentType': 'text/plain'}],
}.items():
    case(name, 'error', options, *[
        ['wire', get('/books/7?q=1', headers=[['Accept', accepted]])]
        for accepted in ('text/html', 'application/json', 'text/plain')])
    case(f'{name} by post', 'error', options, ['wire', get(
        '/a&b/<c>', method='POST', body='x', headers=[['Content-Type', 'text/x-odd'],
                                                      ['Accept', 'text/html']])])
case('media', 'error', ['HTTPUnsupportedMediaType', {'detail': 'JSON, please'}],
     *[['wire', get('/', method='POST', body='x', headers=[
         ['Content-Type', 'text/x-odd'], ['Accept', accepted]])]
       for accepted in ('text/html', 'application/json', 'text/plain')])
case('head', 'error', ['HTTPNotFound', {'detail': 'none'}],
     ['wire', get('/x', method='HEAD')])
case('location of two lines', 'error', ['HTTPFound', {'location': '/a\r\nX-B: c'}],
     Fails(['about']))
case('location and slash', 'error', ['HTTPFound', {'location': '/a', 'addSlash': True}],
     Fails(['about']))

# =========================================================== the cases: URLMap

PATHS = ('/', '', '/v1', '/v1/', '/v1/x', '/v1x', '/v1/beta', '/v1/beta/y', '/v2',
         '/a/b/c', '//v1//x', '/v1/../x', '/V1/x', '/v1/caf%C3%A9/z')
case('paths', 'urlmap', [['/v1', 'one'], ['/v1/beta', 'beta'], ['/a/b', 'deep']],
     [['call', get(path)] for path in PATHS if path])
case('catch-all', 'urlmap', [['/', 'all'], ['/v1', 'one'], ['/v2/', 'two']],
     [['call', get(path)] for path in ('/', '/v1', '/v1/', '/x/y', '/v2', '/v2/x',
                                       '/v22')],
     [['call', get(path, baseUrl='http://h.example/base')] for path in ('/v1/x', '/x')])
case('hosts', 'urlmap', [['/api', 'any'], ['http://api.example', 'host'], ['/', 'all'],
                         ['http://api.example/api', 'host api'],
                         ['http://api.example:8080/api', 'port api']],
     [['call', get(base + path)] for base in (
         'http://api.example', 'http://API.example', 'http://other.example',
         'http://api.example:81', 'https://api.example')
      for path in ('/api/x', '/apix', '/')])
case('replaced', 'urlmap', [['/a', 'first'], ['/a/', 'second']], ['call', get('/a/x')])

# =========================================================== the cases: PasteDeploy


def config(name, text, *questions, **files):
    files = {k.replace('_', '/') + '.ini': v for k, v in files.items()}
    case(name, 'config', {'main.ini': text, **files}, *questions)


def load(name=None, uri='config:main.ini', **options):
    return ['load', uri, {**({} if name is None else {'name': name}), **options}]


config('one app', '''
[app:main]
paste.app_factory = lab:app_one
title = A Title
empty =
''', load(), ['call', get('/x')], load('main'), load(uri='config:main.ini#main'),
    load(uri='config:<HERE>/main.ini'), Fails(load('other')),
    Fails(load(uri='config:none.ini')))

config('defaults and interpolation', '''
[DEFAULT]
root = /srv
log = %(root)s/log
shadow = global
[app:main]
paste.app_factory = lab:app_one
place = %(root)s/one
where = %(here)s/data
file = %(__file__)s
percent = 100%%
shadow = local
seen = %(shadow)s
set root = /opt
set added = %(root)s/added
get copied = log
CamelCase = kept
[app:other]
use = main
place = %(root)s/other
[app:missing]
paste.app_factory = lab:app_one
bad = %(nowhere)s
''', load(), load('other'), load(globalConf={'root': '/caller', 'extra': 'e'}),
    load('main', globalConf={'title': 'caller', 'place': 'hidden'}),
    Fails(load('missing')))

config('syntax', '''
# a comment
; another
[app:main]
paste.app_factory: lab:app_one
a = b = c
d : e = f
g = h : i
j = k ; not a comment # either
long = first
    second
  third
  spaced   =   inner  space
url = http://h.example/?a=1
''', load())
config('duplicate key', '[app:main]\npaste.app_factory = lab:app_one\na = 1\na = 2\n',
       Fails(load()))
config('duplicate section', '[app:main]\npaste.app_factory = lab:app_one\n[app:main]\n',
       Fails(load()))
config('bad percent', '[app:main]\npaste.app_factory = lab:app_one\na = 5%\n',
       Fails(load()))
config('no section', 'a = 1\n[app:main]\npaste.app_factory = lab:app_one\n',
       Fails(load()))

config('pipeline', '''
[pipeline:main]
pipeline = outer middle
    inner end
[filter:outer]
paste.filter_factory = lab:filter_outer
[filter:middle]
paste.filter_app_factory = lab:filterapp_middle
level = 2
[filter:inner]
paste.filter_factory = lab:filter_inner
label = core
[app:end]
paste.app_factory = lab:app_end
[pipeline:alone]
pipeline = end
[pipeline:nested]
pipeline = outer alone
[pipeline:extra]
pipeline = outer end
debug = true
[pipeline:unknown]
pipeline = outer nobody
[pipeline:missing]
[pipeline:wrong]
pipeline = end outer
''', load(), ['call', get('/x')], load('alone'), ['call', get('/')], load('nested'),
    ['call', get('/')], Fails(load('extra')), Fails(load('unknown')),
    Fails(load('missing')), Fails(load('wrong')),
    ['loadFilter', 'config:main.ini', {'name': 'inner'}], ['call', get('/f')],
    ['loadFilter', 'config:main.ini', {'name': 'middle'}], ['call', get('/f')])

config('filters around one app', '''
[app:main]
paste.app_factory = lab:app_one
filter-with = wrap
a = 1
[filter:wrap]
paste.filter_factory = lab:filter_wrap
filter-with = outermost
b = 2
[filter:outermost]
paste.filter_factory = lab:filter_outermost
[filter-app:fa]
paste.filter_factory = lab:filter_fa
next = plain
c = 3
[filter-app:used]
use = wrap
next = plain
[app:plain]
paste.app_factory = lab:app_plain
[filter-app:lost]
paste.filter_factory = lab:filter_fa
''', load(), ['call', get('/')], load('fa'), ['call', get('/')], load('used'),
    ['call', get('/')],
    Fails(load('lost')))

config('use', '''
[DEFAULT]
tone = warm
[app:base]
paste.app_factory = lab:app_base
a = base a
b = base b
set tone = cool
[app:main]
use = base
b = main b
c = main c
[app:again]
use = main
set tone = hot
c = again c
[app:file]
use = config:sub/other.ini
x = outer
[app:named]
use = config:sub/other.ini#named
[app:call]
use = call:lab:app_called
k = v
[filter:fcall]
use = call:lab:filter_called
[pipeline:pcall]
pipeline = fcall call
[app:nothing]
a = 1
[app:both]
use = base
paste.app_factory = lab:app_base
[app:gone]
use = nowhere
[app:proto]
paste.app_factory = lab:app_x
paste.composite_factory = lab:composite_x
''', load(), load('again'), load('file'), ['call', get('/')], load('named'), load('call'),
    load('pcall'), ['call', get('/')], load('again', globalConf={'tone': 'caller'}),
    Fails(load('nothing')), Fails(load('gone')), Fails(load('proto')), sub_other='''
[DEFAULT]
tone = sub
only = sub
[app:main]
paste.app_factory = lab:app_other
x = inner
y = %(here)s
z = %(__file__)s
[app:named]
use = config:../main.ini#base
''')

config('sections', '''
[application:one]
paste.app_factory = lab:app_one
[composit:two]
paste.composit_factory = lab:composite_two
app = one
[composite:three]
use = call:lab:composite_three
app = one
filters = f g
key = value
[filter:f]
paste.filter_factory = lab:filter_f
[filter:g]
paste.filter_factory = lab:filter_g
[app:twice]
paste.app_factory = lab:app_one
[pipeline:twice]
pipeline = one
[app:spaced]
paste.app_factory = lab:app_spaced
[app]
paste.app_factory = lab:app_bare
[App:case]
paste.app_factory = lab:app_one
''', load('one'), load('two'), ['call', get('/')], load('three'), ['call', get('/')],
    Fails(load('twice')), load('spaced'), Fails(load('case')), Fails(load('main')),
    load('three', globalConf={'who': 'caller'}))

config('urlmap', '''
[composite:main]
use = egg:Paste#urlmap
/ = root
/v1 = one
/v1/deep = deep
[composite:called]
use = call:paste.urlmap:urlmap_factory
/a = one
domain api.example /b = deep
domain api.example port 81 /c = deep
not_found_app = root
[composite:broken]
use = egg:Paste#urlmap
/a = nobody
[app:root]
paste.app_factory = lab:app_root
[app:one]
paste.app_factory = lab:app_one
n = 1
[pipeline:deep]
pipeline = f one
[filter:f]
paste.filter_factory = lab:filter_f
''', load(), [['call', get(path)] for path in (
        '/', '/x', '/v1', '/v1/x', '/v1/deep/z', '/v12')],
    load('called'), [['call', get(url)] for url in (
        '/a/1', '/b', 'http://api.example/b/2', 'http://api.example:81/c',
        'http://api.example/c', 'http://api.example/a')], Fails(load('broken')))

# =========================================================== the cases: oslo.middleware


def oslo(name, filter, conf, inner, *questions):
    case(f'{filter} {name}', 'filter', [filter, conf, inner],
         *[['call', q] for q in questions])


def post(size, **options):
    return get('/', method='POST', body='x' * size, **options)


oslo('limit', 'RequestBodySizeLimiter', {'max_request_body_size': '10'}, {'read': True},
     *[post(size, unsized=unsized) for unsized in (False, True)
       for size in (0, 9, 10, 11)],
     get('/'))
oslo('default limit', 'RequestBodySizeLimiter', {}, {'read': True}, post(3),
     post(3, unsized=True))
oslo('as JSON', 'RequestBodySizeLimiter', {'max_request_body_size': '3'}, {},
     post(4, headers=[['Accept', 'application/json']]),
     post(4, headers=[['Accept', 'text/html']]))

SENT = 'req-11111111-2222-3333-4444-555555555555'
oslo('new', 'RequestId', {},
     {'echo': ['openstack.request_id', 'openstack.global_request_id']}, get('/'),
     get('/', headers=[['X-Openstack-Request-Id', 'mine']]))
oslo('kept', 'RequestId', {}, {'headers': [['x-openstack-request-id', 'inner']]},
     get('/'))

SEEN = {'echo': ['wsgi.url_scheme', 'HTTP_HOST', 'REMOTE_ADDR', 'SCRIPT_NAME',
                 'PATH_INFO']}
FORWARDS = [
    {}, {'Forwarded': 'for=192.0.2.60;proto=https;host=front.example'},
    {'Forwarded': 'proto=https'}, {'Forwarded': 'For=192.0.2.7; Host=front.example'},
    {'X-Forwarded-Proto': 'https'}, {'X-Forwarded-Host': 'front.example:8443'},
    {'X-Forwarded-For': '192.0.2.61'}, {'X-Forwarded-Prefix': '/front'},
    {'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'front.example',
     'X-Forwarded-For': '192.0.2.62', 'X-Forwarded-Prefix': '/front'},
    {'Forwarded': 'host=one.example', 'X-Forwarded-Host': 'two.example',
     'X-Forwarded-Prefix': '/p'},
]
for trust in (None, 'false', 'true'):
    conf = {} if trust is None else {'enable_proxy_headers_parsing': trust}
    oslo(f'{trust}', 'HTTPProxyToWSGI', conf, SEEN, *[
        get('/x', baseUrl='http://back.example/m', environ={'REMOTE_ADDR': '10.0.0.1'},
            headers=list(map(list, headers.items()))) for headers in FORWARDS])

DOOR = 'https://door.example'
ORIGINS = (None, DOOR, 'https://other.example', 'https://door.example:8443',
           'HTTPS://door.example')
ASKS = (None, 'GET', 'PUT', 'put')
HEADERS = (None, 'X-Token', 'x-token, Content-Type', 'X-Other')


def cors_request(method, origin, ask=None, headers=None):
    pairs = [['Origin', origin], ['Access-Control-Request-Method', ask],
             ['Access-Control-Request-Headers', headers]]
    return get('/', method=method, headers=[p for p in pairs if p[1] is not None])


RULES = {'allowed_origin': 'https://door.example,https://gate.example', 'max_age': '60',
         'allow_methods': 'GET,PUT', 'allow_headers': 'X-Token',
         'expose_headers': 'X-Sent,X-Id'}
INNER = {'headers': [['Content-Type', 'text/plain'], ['Vary', 'Accept']]}
oslo('plain requests', 'CORS', RULES, INNER, *[cors_request('GET', o) for o in ORIGINS],
     cors_request('GET', 'https://gate.example'))
oslo('preflight', 'CORS', RULES, {'status': 404},
     *[cors_request('OPTIONS', o, 'GET') for o in ORIGINS],
     *[cors_request('OPTIONS', DOOR, ask) for ask in ASKS],
     *[cors_request('OPTIONS', DOOR, 'PUT', headers) for headers in HEADERS])
oslo('preflight answered inside', 'CORS', RULES, {'status': 204},
     cors_request('OPTIONS', DOOR, 'GET'))
oslo('defaults', 'CORS', {'allowed_origin': DOOR}, {}, cors_request('GET', DOOR),
     *[cors_request('OPTIONS', DOOR, ask, 'Accept') for ask in ('PATCH', 'BREW')])
oslo('no credentials', 'CORS',
     {'allowed_origin': DOOR, 'allow_credentials': 'false', 'max_age': '0'}, {},
     cors_request('GET', DOOR), cors_request('OPTIONS', DOOR, 'GET'))
oslo('any origin', 'CORS', {'allowed_origin': '*', 'allow_credentials': 'false'}, {},
     cors_request('GET', 'https://anyone.example'),
     cors_request('OPTIONS', 'https://anyone.example', 'POST'))
oslo('already there', 'CORS', RULES,
     {'headers': [['Access-Control-Allow-Origin', 'https://own']]},
     cors_request('GET', DOOR))

write('routes', ['Routes'])
write('webstack', ['WebOb', 'PasteDeploy', 'Paste', 'oslo.middleware'])
