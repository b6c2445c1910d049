/*---
name: dim_payment
description: Kinds of payment. TLC's own 5, unknown, is kept apart from a code that nobody knows.
materialized: table
columns:
  - {name: payment_key, type: bigint, description: "TLC's payment_type; -1 is a code that is none of these.", tests: [not_null, unique]}
  - {name: payment_name, type: varchar, description: Kind of payment., tests: [not_null]}
---*/
select x.payment_key, x.payment_name
from (values
  (-1, 'Unknown code'),
  (0, 'Flex fare'),
  (1, 'Card'),
  (2, 'Cash'),
  (3, 'No charge'),
  (4, 'Dispute'),
  (5, 'Unknown'),
  (6, 'Voided')
) as x(payment_key, payment_name)
