package contract

import "testing"

func TestX(t *testing.T) {
	s, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c, _ := s.Find("YellowTaxiTripRecords", "0-0-1")
	for _, p := range []string{`{}`, `{"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:32:10","tpep_dropoff_datetime":"2023-01-01T00:40:36Z","trip_distance":1e4,"PULocationID":1.5, "DOLocationID":null,"payment_type":1.0,"fare_amount":"x","total_amount":-3,"z":{"a":1,"a":2}}`, `{"a"`} {
		t.Log(c.Check([]byte(p)))
	}
}
