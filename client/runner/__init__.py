"""Takes tasks from the stock SuperNode and answers them with the site's own ClientApp. Imports gate and strategies; never a bundle."""
