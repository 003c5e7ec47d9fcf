import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { NotFoundException } from '@nestjs/common'
import type { ApplicationConfig, HttpAdapterHost } from '@nestjs/core'
import type { ProblemFilter } from './problem-filter.ts'

type ExpressApplication = (request: IncomingMessage, response: ServerResponse, unanswered: (error?: unknown) => void) => void

/**
 * Puts the filter behind every filter of the application, whenever and however those are registered: Nest asks the global filters from the
 * last to the first, and all others before them.
 */
export function asLastFilter(filter: ProblemFilter, config: ApplicationConfig): void {
  const filters = config.getGlobalFilters()
  if (!filters.includes(filter)) filters.unshift(filter)
}

/**
 * What reaches no handler at all (outside of the global prefix, say) would get Express's own page of HTML. Express tells whoever called it;
 * handlers that are added later still come first.
 */
export function answerUnrouted(filter: ProblemFilter, { httpAdapter }: HttpAdapterHost): void {
  if (httpAdapter?.getType?.() !== 'express') return
  const express = httpAdapter.getInstance<ExpressApplication>()
  const server = httpAdapter.getHttpServer() as Server
  if (!server.listeners('request').includes(express)) return
  server.removeListener('request', express as RequestListener)
  server.on('request', (request, response) =>
    express(request, response, (error) =>
      filter.answer(error ?? new NotFoundException(`Cannot ${request.method} ${request.url}`), request, response),
    ),
  )
}
