import { rmSync } from 'node:fs'
import { StackError } from './errors.ts'
import { Instance } from './instance.ts'
import type { ResolvedStartOptions } from './options.ts'
import type { Plan } from './plan.ts'
import { freePort, portTaken, takenPort } from './ports.ts'

/** Between the draw of a free port and the server's start somebody else may take it; then another one is drawn. */
const portAttempts = 5

export async function launch(plan: Plan, options: ResolvedStartOptions): Promise<Instance> {
  options.signal?.throwIfAborted()
  const { portOffsets = [] } = plan
  if (options.port !== undefined) {
    const taken = await takenPort(options.port, portOffsets)
    if (taken !== undefined) throw portTaken(plan.name, taken)
  }
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort(portOffsets))
    const instance = new Instance(plan, options, port)
    try {
      await instance.start()
      return instance
    } catch (error) {
      const taken = StackError.isInstance(error) && error.code === 'ERR_STACK_PORT_TAKEN'
      if (!taken || options.port !== undefined || attempt === portAttempts) throw error
      if (error.logFile) rmSync(error.logFile, { force: true })
    }
  }
}
