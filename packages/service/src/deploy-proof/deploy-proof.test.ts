import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { main } from './main.ts'

const fixture = join(import.meta.dirname, 'serve.fixture.ts')
const node = [process.execPath, '--conditions=@platform/source', fixture]

async function proof(args: readonly string[], command: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const code = await main([...args, '--', ...command], { out: (text) => (out += text), err: (text) => (err += text) })
  return { code, out, err }
}

describe('deploy-proof', { timeout: 180_000 }, () => {
  it('proves a service that outlives the lag of its balancer, and tells its phases', async () => {
    const { code, out, err } = await proof(['--lag-ms', '400', '--rate', '100', '--instances', '2'], [...node, '2500'])
    expect({ code, err }).toEqual({ code: 0, err: expect.stringContaining('replaced 2 of 2') })
    expect(out).toContain('; 0 failed')
    expect(out).toMatch(/\n1 +0 +\d+\.\d\d s +\d+\.\d\d s +\d+\.\d\d s +0 +quiesce \d+\.\d\d s, drain \d+\.\d\d s, close/)
  })

  it('counts what a service fails that closes its port at once, and says why', async () => {
    const { code, out } = await proof(['--lag-ms', '5000', '--rate', '0', '--clients', '8', '--replacements', '1'], [...node, '0', 'bare'])
    expect(code).toBe(1)
    expect(out).toMatch(/502 ECONN(REFUSED|RESET)/)
    expect(out).toContain('closed their listener before the balancer heard')
    expect(out).toContain('NOT proven')
  })

  it('says with the instance’s own words why it is not ready', async () => {
    const { code, err } = await proof(['--start-ms', '20000'], [process.execPath, '-e', 'console.error("no database"); process.exit(3)'])
    expect({ code, err }).toEqual({ code: 1, err: expect.stringMatching(/ended with 3 before it was ready[^]*no database/) })
  })

  it.each([
    [[], [], 'the command that starts an instance is missing'],
    [['--rate', 'many'], ['node'], '--rate must be a whole number'],
    [['--speed', '1'], ['node'], 'speed'],
  ])('a wrong call is told: %j', async (args, command, problem) => {
    const { code, err } = await proof(args, command)
    expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining(problem) })
  })
})
