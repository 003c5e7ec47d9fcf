import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { findServerProcesses } from '@platform/stack'
import { describe, expect, it } from 'vitest'

const program = fileURLToPath(new URL('../dist/main.js', import.meta.url))

interface Run {
  readonly code: number | null
  readonly output: string
  readonly runId: string
}

/** Runs the demo with a run id of its own; `onLine` may break it at a moment of its choice. */
async function demo(args: string[], options: { shell?: string; onLine?(line: string, pid: number): void } = {}): Promise<Run> {
  const runId = randomBytes(6).toString('hex')
  const env = { ...process.env, PLATFORM_STACK_RUN: runId }
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

const folders = () => readdirSync(tmpdir()).filter((name) => /^(film-store|platform-stack)-/.test(name))

/** Nothing that this run started lives on, and no folder of it is left. */
async function expectNothingLeft(runId: string, before: readonly string[]): Promise<void> {
  await expect.poll(() => findServerProcesses(runId), { timeout: 20_000 }).toEqual([])
  await expect.poll(() => folders().filter((name) => !before.includes(name)), { timeout: 20_000 }).toEqual([])
}

describe('the demo', () => {
  const moments = ['postgres', 'databases migrated', 'services ready', 'of 400 orders']
  it.each(moments)(
    'cleans up when Ctrl-C is pressed at "%s"',
    async (moment) => {
      const before = folders()
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
      await expectNothingLeft(runId, before)
    },
    120_000,
  )

  it('leaves nothing behind when it is killed itself', async () => {
    const before = folders()
    const { code, runId } = await demo(['--orders', '400'], {
      onLine(line, pid) {
        if (line.includes('services ready')) process.kill(pid, 'SIGKILL')
      },
    })
    expect(code).toBeNull()
    await expectNothingLeft(runId, before)
  }, 120_000)

  it('says what is wrong when the disk is full, and cleans up', async () => {
    const before = folders()
    const { code, output, runId } = await demo(['--orders', '10'], { shell: 'ulimit -f 1000' })
    expect(code).toBe(1)
    expect(output).toMatch(/postgres.*(File too large|ended|size limit)/s)
    expect(output).not.toMatch(/^\s+at /m)
    expect(findServerProcesses(runId)).toEqual([])
    expect(folders().filter((name) => !before.includes(name) && !name.endsWith('.log'))).toEqual([])
  }, 120_000)

  it('names a wrong option', async () => {
    const { code, output } = await demo(['--orders', 'many'])
    expect(output).toContain('--orders takes a whole number')
    expect(code).toBe(2)
  })
})
