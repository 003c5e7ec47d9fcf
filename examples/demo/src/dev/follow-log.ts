import { open } from 'node:fs/promises'
import { styleText } from 'node:util'

const colours = ['cyan', 'magenta', 'green', 'yellow', 'blue'] as const
const pollMs = 100

/** Prints what is appended to a log of JSON lines, a colour for each service; returns what ends it. */
export function followLog(file: string): () => void {
  const followed = new AbortController()
  const known = new Map<string, (typeof colours)[number]>()
  const colourOf = (name: string) => {
    if (!known.has(name)) known.set(name, colours[known.size % colours.length]!)
    return known.get(name)!
  }
  void follow(file, followed.signal, (line) => console.log(render(line, colourOf)))
  return () => followed.abort()
}

async function follow(file: string, signal: AbortSignal, onLine: (line: string) => void): Promise<void> {
  let position = 0
  let rest = ''
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, pollMs).unref())
    try {
      await using handle = await open(file)
      const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(64 * 1024), position })
      position += bytesRead
      const lines = (rest + buffer.toString('utf8', 0, bytesRead)).split('\n')
      rest = lines.pop()!
      for (const line of lines) onLine(line)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
}

const levels: Readonly<Record<number, string>> = { 10: 'trace', 20: 'debug', 30: 'info ', 40: 'warn ', 50: 'error', 60: 'fatal' }

function render(line: string, colourOf: (name: string) => (typeof colours)[number]): string {
  let entry: Record<string, unknown>
  try {
    entry = JSON.parse(line) as Record<string, unknown>
  } catch {
    return line
  }
  const { time, level, name, instance, pid: _pid, hostname: _hostname, msg, ...facts } = entry
  const label = levels[level as number] ?? String(level)
  const text = Object.keys(facts).length > 0 ? `${String(msg)} ${styleText('dim', JSON.stringify(facts))}` : String(msg)
  const painted = (level as number) >= 50 ? styleText('red', label) : (level as number) >= 40 ? styleText('yellow', label) : label
  const who = typeof instance === 'string' ? `${String(name)} ${instance}` : String(name)
  return `${styleText(colourOf(who), who.padEnd(20))}│ ${styleText('dim', clock(time))} ${painted} ${text}`
}

/** The time of day, here. */
export function clock(time: unknown): string {
  const at = new Date(time as string | number)
  if (Number.isNaN(at.getTime())) return '--:--:--.---'
  const two = (value: number) => String(value).padStart(2, '0')
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, '0')}`
}
