import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findServerProcesses } from '@platform/stack'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const program = fileURLToPath(new URL('../dist/main.js', import.meta.url))

/** All temporary folders of a run lie in here; the servers' own users must get in. */
let temporary: string
beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), 'film-store-test-'))
  chmodSync(temporary, 0o755)
})
afterEach(() => rmSync(temporary, { recursive: true, force: true }))

interface Run {
  readonly code: number | null
  readonly output: string
  readonly runId: string
}

/** Runs the demo with a run id of its own; `onLine` may break it at a moment of its choice. */
async function demo(args: string[], options: { shell?: string; onLine?(line: string, pid: number): void } = {}): Promise<Run> {
  const runId = randomBytes(6).toString('hex')
  const env = { ...process.env, PLATFORM_STACK_RUN: runId, TMPDIR: temporary }
  const child = options.shell
    ? spawn('sh', ['-c', `${options.shell}; exec "$0" "$@"`, process.execPath, program, ...args], { env })
    : spawn(process.execPath, [program, ...args], { env })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      for (const line of text.split('\n')) options.onLine?.(line, child.pid!)
    })
  }
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, output, runId }
}

/** Nothing that this run started lives on, and nothing of it is left on the disk but logs that it kept on purpose. */
async function expectNothingLeft(runId: string, keptLogs = 0): Promise<void> {
  await expect.poll(() => findServerProcesses(runId), { timeout: 20_000 }).toEqual([])
  await expect.poll(() => readdirSync(temporary).filter((name) => !name.endsWith('.log')), { timeout: 20_000 }).toEqual([])
  expect(readdirSync(temporary)).toHaveLength(keptLogs)
}

describe('the demo', () => {
  const moments = ['postgres', 'databases migrated', 'services ready', 'of 200 orders']
  it.each(moments)(
    'cleans up when Ctrl-C is pressed at "%s"',
    async (moment) => {
      let pressed = false
      const { code, output, runId } = await demo(['--orders', '400'], {
        onLine(line, pid) {
          if (pressed || !line.includes(moment)) return
          pressed = true
          process.kill(pid, 'SIGINT')
        },
      })
      expect(output).toContain('everything that was started is gone')
      expect(code).toBe(130)
      await expectNothingLeft(runId)
    },
    120_000,
  )

  it('leaves nothing behind when it is killed itself', async () => {
    const { code, runId } = await demo(['--orders', '400'], {
      onLine(line, pid) {
        if (line.includes('services ready')) process.kill(pid, 'SIGKILL')
      },
    })
    expect(code).toBeNull()
    await expectNothingLeft(runId)
  }, 120_000)

  it('says what is wrong when the disk is full, and cleans up', async () => {
    const { code, output, runId } = await demo(['--orders', '10'], { shell: 'ulimit -f 1000' })
    expect(code).toBe(1)
    expect(output).toMatch(/postgres.*(File too large|ended|size limit)/s)
    expect(output).not.toMatch(/^\s+at /m)
    await expectNothingLeft(runId, 1)
  }, 120_000)

  it('names a wrong option', async () => {
    const { code, output } = await demo(['--orders', 'many'])
    expect(output).toContain('--orders takes a whole number')
    expect(code).toBe(2)
  })
})
