import { join } from 'node:path'
import { bin } from '../pinned-node.ts'
import { type Check, execute } from './checks.ts'
import type { Project, RunOptions } from './project.ts'

/** pino and other CommonJS packages ask for `require`, which an ES module does not have. */
const requireBanner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);"

/** One file that holds the application and the packages, and runs. */
export async function checkEsbuild(project: Project, program: string, check: Check, options: RunOptions): Promise<void> {
  const bundle = async (outfile: string, ...args: string[]) => {
    const common = [program, '--bundle', '--platform=node', '--target=node22', '--log-level=error', `--outfile=${outfile}`]
    await execute(bin('esbuild'), [...common, ...args], { cwd: project.folder })
    await project.run(outfile, options)
  }
  await check('bundled by esbuild, ESM', () => bundle(join('bundles', 'esm.mjs'), '--format=esm', `--banner:js=${requireBanner}`))
  await check('bundled by esbuild, CommonJS', () => bundle(join('bundles', 'cjs.cjs'), '--format=cjs'))
}
