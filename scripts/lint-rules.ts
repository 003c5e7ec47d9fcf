/** `.oxlintrc.json` as the table below says: oxlint's overrides replace a rule as a whole, so each block repeats what the table says once. */

/** Who may import which sibling, subpaths included: the arrows of docs/architecture.md. All others are known by shape. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  config: [],
  logger: [],
  telemetry: [],
  resilience: [],
  health: [],
  'db-pool': [],
  cache: [],
  queue: [],
  discovery: ['resilience'],
  service: ['health'],
  gateway: ['discovery', 'resilience', 'logger', 'service'],
  nestjs: ['*'],
  stack: [],
  metrics: [],
}

const sdks = ['@opentelemetry/sdk-trace', '@opentelemetry/sdk-metrics']
const frameworks = ['express', 'fastify']
const onlyTelemetry = 'Only telemetry imports an SDK; call @opentelemetry/api.'
const onlyWeb = 'HTTP frameworks belong to nestjs, service/http and examples.'
const onlyHolding =
  'A timer that somebody awaits holds the process: pause of the kernel. Upkeep that nobody awaits: its background… functions.'
const onlyArrows = 'Not an arrow of the map in docs/architecture.md: restate the shape instead.'

interface Allowed {
  readonly siblings?: readonly string[]
  readonly sdk?: boolean
  readonly web?: boolean
  readonly nest?: boolean
  /** Timers that may let the process end. */
  readonly unref?: boolean
}

function imports({ siblings = [], sdk = false, web = false, nest = false, unref = false }: Allowed): unknown {
  const paths = [
    ...(web ? [] : frameworks.map((name) => ({ name, message: onlyWeb }))),
    ...(sdk ? [] : sdks.map((name) => ({ name, message: onlyTelemetry }))),
    // Theirs take `ref: false`.
    ...(unref ? [] : [{ name: 'node:timers/promises', importNames: ['setTimeout', 'setInterval'], message: onlyHolding }]),
  ]
  const exceptions = siblings.flatMap((name) => [`!@platform/${name}`, `!@platform/${name}/*`])
  const patterns = [
    ...(nest ? [] : [{ group: ['@nestjs/*'], message: onlyWeb }]),
    ...(siblings.includes('*') ? [] : [{ group: ['@platform/*', '@platform/*/*', ...exceptions], message: onlyArrows }]),
  ]
  return ['error', { paths, patterns }]
}

/** `scripts` starts examples and bench as programs; what they share is in `packages/stack`. */
const without = (folder: string) => ['error', { patterns: [{ group: [`**/${folder}/**`], message: onlyArrows }] }]

const noUnref = ['error', { property: 'unref', message: onlyHolding }]

const block = (files: string, allowed: Allowed) => ({
  files: [files],
  rules: { 'no-restricted-imports': imports(allowed), ...(allowed.unref ? {} : { 'no-restricted-properties': noUnref }) },
})

const rules = {
  $schema: './node_modules/oxlint/configuration_schema.json',
  options: { typeAware: true },
  plugins: ['typescript', 'oxc', 'import', 'unicorn', 'promise', 'vitest'],
  categories: { correctness: 'error' },
  ignorePatterns: ['**/dist/**', '**/reports/**'],
  rules: {
    'typescript/no-floating-promises': 'error',
    'typescript/no-misused-promises': 'error',
    'typescript/await-thenable': 'error',
    'typescript/switch-exhaustiveness-check': 'error',
    'typescript/no-explicit-any': 'error',
    'typescript/consistent-type-imports': 'error',
    'vitest/no-focused-tests': 'error',
    'vitest/no-disabled-tests': 'error',
    'no-restricted-imports': imports({ unref: true }),
    'oxc/no-async-endpoint-handlers': 'off',
    'typescript/unbound-method': 'off',
  },
  overrides: [
    ...Object.entries(arrows).map(([name, siblings]) =>
      block(`packages/${name}/src/**`, {
        siblings: siblings.includes('*') ? siblings : [...siblings, 'kernel'],
        sdk: name === 'telemetry',
        web: name === 'nestjs',
        nest: name === 'nestjs',
      }),
    ),
    block('packages/service/src/http/**', { siblings: ['health', 'kernel'], web: true }),
    { files: ['examples/**', 'bench/**'], rules: { 'no-restricted-imports': without('scripts') } },
    { files: ['scripts/**'], rules: { 'no-restricted-imports': without('bench') } },
    {
      files: ['packages/**/*.test.ts', 'packages/**/*.test-d.ts', 'packages/**/*.fixture.ts'],
      rules: { 'no-restricted-imports': 'off', 'no-restricted-properties': 'off' },
    },
    { files: ['examples/orders-api/**'], rules: { 'typescript/consistent-type-imports': 'off' } },
  ],
}

export const lintRulesFile = '.oxlintrc.json'
export const lintRules: string = `${JSON.stringify(rules, null, 2)}\n`
