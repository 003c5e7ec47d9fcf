/**
 * One instance, stopped as each library's documentation says: `node variants/service.ts <variant> <waitMs>`, on PORT. `waitMs` is how long it is
 * told to go on after the signal, where it can be told. Every answer takes 20 ms.
 */
import { createServer, type RequestListener } from 'node:http'

const [variant = '', wait = '0'] = process.argv.slice(2)
const port = Number(process.env['PORT'])
const waitMs = Number(wait)
const answer: RequestListener = (request, response) => {
  request.resume()
  setTimeout(() => response.end('ok'), 20)
}

switch (variant) {
  case 'ours': {
    const { createService } = await import('@platform/service')
    const { httpServer } = await import('@platform/service/http')
    const http = httpServer(createServer(answer), { port, minDrainMs: waitMs })
    const line = (fields: object): void => console.log(JSON.stringify(fields))
    await createService({ name: 'ours', components: { http }, logger: { debug() {}, info: line, warn: line, error: line } }).run()
    break
  }
  case '@godaddy/terminus': {
    const { createTerminus } = await import('@godaddy/terminus')
    const beforeShutdown = () => new Promise<void>((resolve) => setTimeout(resolve, waitMs))
    createTerminus(createServer(answer), { signals: ['SIGTERM'], beforeShutdown, timeout: 10_000, useExit0: true }).listen(port)
    break
  }
  case '@nestjs/terminus': {
    await import('reflect-metadata')
    const { Controller, Get, Module } = await import('@nestjs/common')
    const { NestFactory } = await import('@nestjs/core')
    const { TerminusModule } = await import('@nestjs/terminus')
    class Answers {
      answer(): Promise<string> {
        return new Promise((resolve) => setTimeout(resolve, 20, 'ok'))
      }
    }
    Controller()(Answers)
    Get()(Answers.prototype, 'answer', Object.getOwnPropertyDescriptor(Answers.prototype, 'answer')!)
    class AppModule {}
    Module({ imports: [TerminusModule.forRoot({ gracefulShutdownTimeoutMs: waitMs })], controllers: [Answers] })(AppModule)
    const app = await NestFactory.create(AppModule, { logger: false })
    app.enableShutdownHooks()
    await app.listen(port)
    break
  }
  case 'lightship': {
    const { createLightship } = await import('lightship')
    const lightship = await createLightship({ detectKubernetes: false, port: 0, shutdownDelay: waitMs, shutdownHandlerTimeout: 10_000 })
    const server = createServer(answer).listen(port, () => lightship.signalReady())
    lightship.registerShutdownHandler(() => new Promise<void>((resolve) => server.close(() => resolve())))
    break
  }
  case 'close-with-grace': {
    const { default: closeWithGrace } = await import('close-with-grace')
    const server = createServer(answer).listen(port)
    closeWithGrace({ delay: 10_000 }, () => new Promise<void>((resolve) => server.close(() => resolve())))
    break
  }
  default:
    throw new Error(`there is no variant ${variant}`)
}
