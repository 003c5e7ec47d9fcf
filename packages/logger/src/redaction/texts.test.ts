import { EventEmitter } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { createLogger, createRedactor } from '../index.ts'
import { kept } from '../testing/kept-logger.ts'

const canary = 'hunter2canary'
const shown = /hunter2|canary|112233445566/
const json = JSON.stringify
const twice = (value: unknown) => json({ m: json(value) })

describe('a secret under its name does not show', () => {
  const fields: Record<string, object> = {
    'form, first parameter': { body: `password=${canary}&user=me` },
    'form, encoded brackets': { url: `/login?user%5Bpassword%5D=${canary}` },
    'form, brackets': { url: `/login?user[password]=${canary}` },
    'fragment of a redirect': { url: `https://app/cb#access_token=${canary}&token_type=bearer` },
    'URL inside an URL': { url: `/cb?next=https%3A%2F%2Fapp%2Fcb%3Faccess_token%3D${canary}%26x%3D1` },
    'multipart form': { body: `Content-Disposition: form-data; name="password"\r\n\r\n${canary}\r\n--x` },
    'JSON, indented': { body: JSON.stringify({ a: { password: canary } }, null, 2) },
    'JSON, cut in the middle': { body: `{"a":1,"password":"${canary}` },
    'JSON, list': { body: json({ tokens: [canary] }) },
    'JSON, object': { body: json({ token: { value: canary } }) },
    'JSON, number': { body: '{"password":112233445566}' },
    'JSON, blanks': { body: `{"password":  "${canary}"}` },
    'JSON, escaped name': { body: `{"pass\\u0077ord":"${canary}"}` },
    'JSON in JSON': { body: twice({ password: canary }) },
    'JSON in JSON in words': { text: `sent ${twice({ password: `${canary}"z` })} to them` },
    'JSON in JSON in JSON in words': { text: `sent ${json({ m: twice({ password: `${canary}"z` }) })} to them` },
    'JSON in words': { text: `sent ${json({ a: [1], password: canary, b: 2 })} to them` },
    'pairs in JSON in words': { text: `sent ${json({ name: 'password', value: canary })}` },
    'list of pairs as JSON': { body: json([['password', canary]]) },
    'object as inspect prints it': { text: `{ user: 'me', password: '${canary}' }` },
    'hash of Ruby': { text: `{:password=>"${canary}"}` },
    YAML: { text: `password: ${canary}` },
    'element of XML': { text: `<s:password>${canary}</s:password>` },
    environment: { text: `export DB_PASSWORD="${canary}"` },
    'connection string': { text: `Server=db;Password=${canary};Database=x` },
    'words of libpq': { text: `host=db password='${canary} x' user=me` },
    'detail of PostgreSQL': { text: `Key (email, password)=(a, ${canary}) already exists.` },
    flag: { text: `run --password ${canary} --password=${canary}` },
    'list of arguments': { argv: ['run', '--password', canary] },
    header: { text: `X-Api-Key: ${canary}` },
    'header, Basic': { text: `Authorization: Basic ${canary}` },
    'header, Digest': { text: `Authorization: Digest username="me", response="${canary}"` },
    'header, lower case': { text: `authorization: bearer ${canary}${canary}` },
    'header in quotes': { text: `curl -H "Authorization: Bearer ${canary}" https://x` },
    cookies: { text: `Cookie: a=b; id=${canary}` },
    'user among arguments': { spawnargs: ['-u', `me:${canary}`] },
    'command of Redis': { err: Object.assign(new Error('NOAUTH'), { command: { name: 'auth', args: ['me', canary] } }) },
    'command as a list': { args: [['AUTH', 'default', canary]], sent: ['HELLO', '3', 'AUTH', 'me', canary] },
    'setting as a list': { sent: ['CONFIG', 'SET', 'requirepass', canary] },
    'headers one after the other': { list: ['accept', '*/*', 'cookie', `id=${canary}`] },
    'list of headers': { headers: [['authorization', canary]] },
    'raw headers': { rawHeaders: ['Host', canary] },
    'as a validator reports it': {
      found: [
        { property: 'password', value: canary },
        { path: ['user', 'password'], input: canary },
      ],
    },
    'as Ajv reports it': { found: [{ instancePath: '/password', data: canary }] },
    map: { map: new Map([['sessionId', canary]]) },
    'lists, objects and numbers': { tokens: [canary], jwt: { a: canary }, secretKey: 112_233_445_566, passwordConfirmation: canary },
    key: { [`password=${canary}`]: 1 },
    'error of an HTTP client': {
      err: Object.assign(new Error('failed'), {
        config: { headers: { Authorization: `Basic ${canary}` }, auth: { password: canary }, data: json({ password: canary }) },
      }),
    },
  }
  it.each(Object.keys(fields))('%s', (name) => {
    const { logger, texts } = kept()
    logger.info(fields[name]!, 'said')
    expect(texts.join('')).not.toMatch(shown)
    expect(texts.join('')).toContain('[redacted]')
  })
})

describe('a secret that looks like one does not show', () => {
  const texts = {
    'password of an URL': `amqp://me:${canary}@host/v`,
    'password with a slash': `postgres://app:x/${canary}@db/orders`,
    'password with an at sign': `postgres://app:x@${canary}@db/orders`,
    'password without a user': `redis://:${canary}@h:6379/0`,
    'password of each of two URLs': `amqp://a:${canary}@h1,amqp://b:${canary}@h2`,
    'token in place of a user': `https://${canary}@git.example/repo`,
    'password of an encoded URL': `/x?u=https%3A%2F%2Fme%3A${canary}%40host`,
    bearer: `sent Bearer ${canary}.${canary}`,
    'web token': `got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMTIyMzM0NDU1NjYifQ.${canary}`,
    'private key': `-----BEGIN RSA PRIVATE KEY-----\n${canary}\n-----END RSA PRIVATE KEY-----`,
    'JSON in base64': `sent ${Buffer.from(json({ user: 'me', password: canary })).toString('base64')} to them`,
    'private key in base64': `client: ${Buffer.from(`-----BEGIN PRIVATE KEY-----\n${canary}\n-----END PRIVATE KEY-----`).toString('base64')}`,
    'issued token': `ghp_${canary}${canary}1234`,
  }
  it.each(Object.entries(texts))('%s', (_, text) => {
    const { logger, texts: lines } = kept()
    logger.info({ text }, text)
    expect(lines.join('')).not.toMatch(shown)
    for (const encoded of text.match(/[\w+/]{40,}={0,2}/g) ?? []) expect(lines.join('')).not.toContain(encoded)
  })

  it('input of an URL that is none', () => {
    const { logger, texts: lines } = kept()
    try {
      void new URL(`postgres://app:x/${canary}@db/orders`)
    } catch (error) {
      logger.error(error as Error)
    }
    expect(lines.join('')).toContain('ERR_INVALID_URL')
    expect(lines.join('')).not.toMatch(shown)
  })
})

describe('what only looks like a secret stays readable', () => {
  const harmless: Record<string, object> = {
    'names about secrets': {
      tokenCount: 5,
      tokenType: 'bearer',
      sessionCount: 3,
      passwordPolicy: 'strong',
      secretName: 'n',
      tokenExpiresAt: 'x',
    },
    'names that hold the letters': {
      author: 'me',
      secretary: 'x',
      tokenizer: 'bpe',
      passenger: 'Ann',
      compass: 'N',
      monkey: 'm',
      assert: 'x',
    },
    'counted tokens': { maxTokens: 9, prompt_tokens: 3 },
    'booleans and null': { hasPassword: true, password: null },
    prose: { text: 'the token expired at 12:30, see https://docs.example/tokens?page=2#top; a password is required' },
    'a user without a password': { text: 'postgres://app@db:5432/orders http://host:8080/a@b mailto:me@example.com' },
    'bearers and basics': { text: 'a basic functionality, and the bearer of news' },
    JSON: { text: json({ user: 'me', list: [1, 2.5] }) },
    code: { text: "x = y; z == w, Error: ENOENT: no such file, open '/etc/x', select * from t where id = $1" },
    pairs: { pair: ['name', 'Ann'], found: { path: 'title', value: 'x' } },
  }
  it.each(Object.keys(harmless))('%s', (name) => {
    const { logger, lines } = kept()
    logger.info(harmless[name]!)
    expect(lines()).toMatchObject([harmless[name]!])
  })
})

describe('live secrets', () => {
  const secrets = ['p"ss-canary-1', 'back\\slash-canary-2', '-----BEGIN-----\ncanary-3\n-----END-----', 'p@ss canary-4', 'grüße-canary-5']
  const forms: Record<string, (secret: string) => string> = {
    raw: (secret) => secret,
    JSON: (secret) => json({ x: secret }),
    'JSON in JSON': (secret) => twice({ x: secret }),
    'a cut of JSON': (secret) => json({ x: secret }).slice(0, -1),
    'percent-encoded': (secret) => `/search?q=${encodeURIComponent(secret)}`,
    'as a form': (secret) => String(new URLSearchParams({ q: secret })),
    'base64 behind one, two and three others': (secret) =>
      ['a', 'ab', 'abc'].map((head) => Buffer.from(head + secret).toString('base64')).join(' '),
  }
  it.each(Object.keys(forms))('do not show: %s', (form) => {
    const { logger, texts } = kept({
      redact: { values: () => [...secrets, ...Array.from({ length: 1_000 }, (_, index) => `other-${index}`)] },
    })
    for (const secret of secrets) {
      const text = forms[form]!(secret)
      logger.info({ text, [text]: 1 }, text)
      expect(texts.at(-1)).not.toMatch(/canary/)
      for (const encoded of form.startsWith('base64') ? text.split(' ') : []) expect(texts.at(-1)).not.toContain(encoded.slice(4, -4))
    }
  })
})

it('takes rules of the user: names, places, patterns, exceptions, a replacement', () => {
  const { logger, lines } = kept({
    redact: { keys: ['pin-code'], allow: ['cookie'], places: ['user.ssn', 'items.*.code'], patterns: [/\bID-\d+/], replacement: '***' },
  })
  logger.info({
    pinCode: 'x',
    cookie: 'shown',
    user: { ssn: 1, name: 'Ann' },
    items: [{ code: 'a', n: 1 }],
    note: 'ID-12 and ID-13',
  })
  expect(lines()).toMatchObject([
    { pinCode: '***', cookie: 'shown', user: { ssn: '***', name: 'Ann' }, items: [{ code: '***', n: 1 }], note: '*** and ***' },
  ])
})

it('reads hostile texts in linear time', () => {
  const shapes: ((times: number) => string)[] = [
    (times) => 'password='.repeat(times),
    (times) => '"'.repeat(times * 9),
    (times) => `${'\\'.repeat(times * 9)}"password":"`,
    (times) => '://'.repeat(times * 3),
    (times) => 'https://a:'.repeat(times),
    (times) => '[{'.repeat(times * 4),
    (times) => '{"a":'.repeat(times * 2),
    (times) => '"password":{'.repeat(times),
    (times) => '-----BEGIN PRIVATE KEY-----'.repeat(times / 3),
    (times) => 'form-data; name="password"'.repeat(times / 3),
    (times) => '--password '.repeat(times),
    (times) => `${'x'.repeat(times * 9)}=`,
    (times) => 'curl -u a:'.repeat(times),
    (times) => '-a "'.repeat(times * 2),
    (times) => '<a b="'.repeat(times * 2),
    (times) => '<password>x'.repeat(times),
    (times) => `<a${' '.repeat(times * 9)}`,
    (times) => 'password:\n'.repeat(times),
    (times) => `password:${'\n '.repeat(times * 4)}`,
    (times) => `password: ${'a,'.repeat(times * 4)}`,
    (times) => `password: ${' '.repeat(times * 9)}`,
    (times) => 'password: a '.repeat(times),
    (times) => "password '".repeat(times),
    (times) => '%25%25'.repeat(times * 2),
    (times) => '&quot;&lt;'.repeat(times),
    (times) => '(password) VALUES ('.repeat(times / 2),
    (times) => 'login a\n'.repeat(times),
    (times) => 'a:b@'.repeat(times * 2),
    (times) => "['password',".repeat(times),
    (times) => '\u001b[1m'.repeat(times * 2),
    (times) => 'AUTH a '.repeat(times),
    (times) => "'AUTH' ".repeat(times),
    (times) => 'SETUSER a >b '.repeat(times),
    (times) => 'HSET a b '.repeat(times),
    (times) => 'cookie=a; '.repeat(times),
    (times) => 'authorization=a b=c, '.repeat(times),
    (times) => 'a:b@c'.repeat(times * 2),
    (times) => 'eyJ'.repeat(times * 3),
    (times) => 'eyJ0aXRsZSI6Ik1ldHJvcG9saXMifQ '.repeat(times / 3),
    (times) => 'password == '.repeat(times),
    (times) => '-u "a:'.repeat(times),
    (times) => '{a,<<'.repeat(times * 2),
    (times) => 'eyJ01234567..'.repeat(times),
    (times) => 'form-data; name=password\\n'.repeat(times / 3),
  ]
  for (const shape of shapes) {
    const { logger } = kept({ limits: { stringLength: 2 ** 20, lineLength: 2 ** 24 } })
    const text = shape(9_000)
    const startedAt = performance.now()
    logger.info({ text })
    // A few milliseconds each; what is quadratic takes seconds.
    expect({ text: text.slice(0, 30), isFast: performance.now() - startedAt < 1_000 }).toMatchObject({ isFast: true })
  }
})

it('keeps nothing of the names that strangers choose', () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const discard = Object.assign(new EventEmitter(), { writable: true, write: () => true })
  const logger = createLogger({ name: 'test', destination: discard as unknown as NodeJS.WritableStream })
  collect()
  const before = process.memoryUsage().heapUsed
  for (let index = 0; index < 1_000; index++) logger.info({ body: { [`${index}${'x'.repeat(100_000)}`]: 1 } })
  // The first ends the use of the names in hidden classes, the second frees them.
  collect()
  collect()
  // The names were 100 MB.
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(20e6)
})

it.each(['paid with 4111 1111 1111 1111', '5555-5555-5555-4444', 'a 3530 1113 3330 0000 b'])(
  'the number of a card does not show where nothing else looks like a secret: %s',
  (text) => {
    expect(createRedactor().text(text)).toContain('[redacted]')
    expect(createRedactor().text(text)).not.toMatch(/\d{4}/)
  },
)
