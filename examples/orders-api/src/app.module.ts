import type { Shop } from '@film-store/film-contracts/shop'
import { type DynamicModule, Module } from '@nestjs/common'
import type { Logger } from '@platform/logger'
import { PlatformModule } from '@platform/nestjs'
import type { Outbox } from '@platform/queue'
import { DataSource } from 'typeorm'
import { OrdersController } from './orders.controller.ts'
import { OrdersService } from './orders.service.ts'
import { Prices } from './prices.ts'
import { OUTBOX, SHOP } from './tokens.ts'

interface Parts {
  readonly source: DataSource
  readonly prices: Prices
  readonly shop: Shop
  readonly outbox: Outbox
  readonly logger: Logger
}

@Module({})
export class AppModule {
  static with({ source, prices, shop, outbox, logger }: Parts): DynamicModule {
    return {
      module: AppModule,
      imports: [PlatformModule.forRoot({ logger })],
      controllers: [OrdersController],
      providers: [
        OrdersService,
        { provide: DataSource, useValue: source },
        { provide: Prices, useValue: prices },
        { provide: SHOP, useValue: shop },
        { provide: OUTBOX, useValue: outbox },
      ],
    }
  }
}
