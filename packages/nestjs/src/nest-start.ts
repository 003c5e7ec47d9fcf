import { Module } from '@nestjs/common'
import { Birth } from './birth.ts'

/** Nest cannot be told to stop initialising; those of ours who wait in its init hooks listen here. */
export class NestStart {
  readonly #givenUp = new AbortController()

  constructor() {
    Birth.join(this)
  }

  get signal(): AbortSignal {
    return this.#givenUp.signal
  }

  giveUp(reason: unknown): void {
    this.#givenUp.abort(reason)
  }
}

/** One for an application, however many modules of ours it has. */
export class NestStartModule {}
Module({ providers: [NestStart], exports: [NestStart] })(NestStartModule)
