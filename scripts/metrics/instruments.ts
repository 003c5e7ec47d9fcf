import { globSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import ts from 'typescript'
import { root } from '../pinned-node.ts'

export type Kind = 'counter' | 'up-down counter' | 'gauge' | 'histogram'

/** A call that makes an instrument of OpenTelemetry, as the source writes it. */
export interface Instrument {
  readonly name: string
  readonly kind: Kind
  readonly unit: string
  readonly description: string
  /** The package's folder below `packages`. */
  readonly owner: string
}

const kinds: ReadonlyMap<string, Kind> = new Map([
  ['createCounter', 'counter'],
  ['createObservableCounter', 'counter'],
  ['createUpDownCounter', 'up-down counter'],
  ['createObservableUpDownCounter', 'up-down counter'],
  ['createGauge', 'gauge'],
  ['createObservableGauge', 'gauge'],
  ['createHistogram', 'histogram'],
])

/** Every instrument that a package's sources make. Throws when a name is not a constant: what cannot be read here cannot be promised elsewhere. */
export function instrumentsOf(owner: string): Instrument[] {
  const files = globSync(`packages/${owner}/src/**/*.ts`, { cwd: root }).filter((file) => !/\.(test|test-d|fixture)\.ts$/.test(file))
  return files
    .map((file) => join(root, file))
    .filter((file) => /\.create(Observable)?(Counter|UpDownCounter|Gauge|Histogram)\(/.test(readFileSync(file, 'utf8')))
    .flatMap((file) => readFile(file, owner))
}

const parsed = new Map<string, ts.SourceFile>()

function parse(file: string): ts.SourceFile {
  let source = parsed.get(file)
  if (source === undefined) {
    source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true)
    parsed.set(file, source)
  }
  return source
}

function readFile(file: string, owner: string): Instrument[] {
  const source = parse(file)
  const found: Instrument[] = []
  visit(source, (node) => {
    if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return
    const kind = kinds.get(node.expression.name.text)
    const [name, options] = node.arguments
    if (kind === undefined || name === undefined) return
    for (const scope of scopesOf(name, source)) {
      const text = (field: string) => {
        const value = options && ts.isObjectLiteralExpression(options) ? valueOf(options, field) : undefined
        return value === undefined ? '' : textOf(value, scope, source)
      }
      found.push({ name: textOf(name, scope, source), kind, unit: text('unit'), description: text('description'), owner })
    }
  })
  return found
}

type Scope = ReadonlyMap<string, ts.Expression>

/** A helper that makes an instrument of its parameter (`const seconds = (name) => meter.createHistogram(name)`) stands for one at each of its calls. */
function scopesOf(name: ts.Expression, source: ts.SourceFile): Scope[] {
  const maker = ts.findAncestor(
    name,
    (each) => ts.isArrowFunction(each) && each.parameters.some((one) => mentions(name, one.name.getText())),
  )
  if (maker === undefined) return [new Map()]
  if (!ts.isArrowFunction(maker) || !ts.isVariableDeclaration(maker.parent)) throw notConstant(name, source)
  const helper = maker.parent.name.getText()
  const bound = (argument: ts.Expression): Scope => new Map([[maker.parameters[0]!.name.getText(), argument]])
  const scopes: Scope[] = []
  visit(source, (each) => {
    if (!ts.isCallExpression(each)) return
    const [argument] = each.arguments
    if (argument === undefined) return
    if (each.expression.getText() === helper) scopes.push(bound(argument))
    const mapped =
      ts.isPropertyAccessExpression(each.expression) && each.expression.name.text === 'map' ? each.expression.expression : undefined
    if (mapped && argument.getText() === helper && ts.isArrayLiteralExpression(mapped)) scopes.push(...mapped.elements.map(bound))
  })
  return scopes
}

function mentions(expression: ts.Expression, name: string): boolean {
  let found = false
  visit(expression, (each) => {
    if (ts.isIdentifier(each) && each.text === name) found = true
  })
  return found
}

function textOf(expression: ts.Expression, scope: Scope, source: ts.SourceFile): string {
  if (ts.isStringLiteralLike(expression)) return expression.text
  if (ts.isTemplateExpression(expression)) {
    const tail = expression.templateSpans.map((span) => textOf(span.expression, scope, source) + span.literal.text)
    return expression.head.text + tail.join('')
  }
  if (ts.isIdentifier(expression)) {
    const argument = scope.get(expression.text)
    return argument === undefined ? constant(expression.text, undefined, source) : textOf(argument, new Map(), source)
  }
  if (ts.isPropertyAccessExpression(expression)) return constant(expression.expression.getText(source), expression.name.text, source)
  throw notConstant(expression, source)
}

const notConstant = (expression: ts.Expression, source: ts.SourceFile) =>
  new Error(`${source.fileName}: an instrument is named or described by ${expression.getText()}, which is not a constant`)

/** The text of `name`, or of its member, declared here or imported. */
function constant(name: string, member: string | undefined, source: ts.SourceFile): string {
  for (const statement of source.statements) {
    if (ts.isVariableStatement(statement)) {
      const declared = statement.declarationList.declarations.find((each) => each.name.getText(source) === name)?.initializer
      if (declared === undefined) continue
      const value = ts.isAsExpression(declared) ? declared.expression : declared
      if (member === undefined) return textOf(value, new Map(), source)
      const held = ts.isObjectLiteralExpression(value) ? valueOf(value, member) : undefined
      if (held !== undefined) return textOf(held, new Map(), source)
    }
    if (!ts.isImportDeclaration(statement) || !ts.isStringLiteral(statement.moduleSpecifier)) continue
    const bindings = statement.importClause?.namedBindings
    const imported = bindings && ts.isNamedImports(bindings) ? bindings.elements.find((each) => each.name.text === name) : undefined
    if (imported === undefined) continue
    const original = (imported.propertyName ?? imported.name).text
    const from = statement.moduleSpecifier.text
    if (from.startsWith('.')) return constant(original, member, parse(resolve(dirname(source.fileName), from)))
    const held = (createRequire(source.fileName)(from) as Record<string, unknown>)[original]
    if (typeof held === 'string') return held
  }
  throw new Error(`${source.fileName}: ${name}${member === undefined ? '' : `.${member}`} is not a constant text`)
}

function valueOf(object: ts.ObjectLiteralExpression, name: string): ts.Expression | undefined {
  const property = object.properties.find((each) => each.name !== undefined && each.name.getText() === name)
  return property && ts.isPropertyAssignment(property) ? property.initializer : undefined
}

function visit(node: ts.Node, each: (node: ts.Node) => void): void {
  each(node)
  ts.forEachChild(node, (child) => visit(child, each))
}
