// Healthcheck of a service's image, which has neither curl nor wget: is this instance ready?
const port = Object.entries(process.env).find(([name]) => name.endsWith('_ADMIN_PORT'))?.[1]
const answer = await fetch(`http://127.0.0.1:${port}/ready`, { signal: AbortSignal.timeout(2_500) })
process.exitCode = answer.ok ? 0 : 1
