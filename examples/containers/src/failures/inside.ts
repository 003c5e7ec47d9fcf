import type { Compose } from '../psql.ts'

/** Node's own inspector, opened by its signal: it listens inside the container alone. */
const evaluate = `
const [expression] = process.argv.slice(1)
const place = async (giveUpAt) => {
  for (;;)
    try {
      return (await (await fetch('http://127.0.0.1:9229/json')).json())[0].webSocketDebuggerUrl
    } catch (error) {
      if (performance.now() > giveUpAt) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
}
process.kill(1, 'SIGUSR1')
place(performance.now() + 10_000).then((url) => {
  const socket = new WebSocket(url)
  socket.onopen = () => socket.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression, returnByValue: true } }))
  socket.onmessage = ({ data }) => {
    const { result, exceptionDetails } = JSON.parse(data).result
    socket.close()
    if (exceptionDetails === undefined) return console.log(result.value)
    console.error(exceptionDetails.exception?.description ?? exceptionDetails.text)
    process.exitCode = 1
  }
})`

/** Runs an expression in the process of a service; resolves with its value as text. The inspector stays open until it is closed. */
export async function inside(compose: Compose, instance: string, expression: string): Promise<string> {
  return (await compose('exec', '-T', instance, 'node', '-e', evaluate, expression)).trim()
}

/** Not in the middle of the conversation that asks for it. */
export async function closeInspector(compose: Compose, instance: string): Promise<void> {
  await inside(compose, instance, `setTimeout(() => process.getBuiltinModule('node:inspector').close(), 100), 'closes'`)
}
