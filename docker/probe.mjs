// Healthcheck of a service's image, which has neither curl nor wget: is this instance ready?
const setting = (end) => Object.entries(process.env).find(([name]) => name.endsWith(end))?.[1]
const port = setting('_ADMIN_PORT')
const scheme = setting('_CERTIFICATE') ? 'https' : 'http'
const answer = await fetch(`${scheme}://127.0.0.1:${port}/ready`, { signal: AbortSignal.timeout(2_500) })
process.exitCode = answer.ok ? 0 : 1
